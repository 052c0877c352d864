//! epoll instances: level-triggered, edge-triggered and one-shot, over the readiness that `poll` sees.

use std::collections::BTreeMap;

use super::{Host, Kind};
use crate::errno::Errno;

/// Descriptors that one instance watches at most.
const MAX_WATCHED: usize = 65_536;
/// The bits of `events` that are about how to tell rather than about what.
const HOW: u32 = (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLEXCLUSIVE) as u32;

/// What is watched for, and what to say when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollEvent {
    /// `EPOLLIN` and so on.
    pub events: u32,
    /// What the program wants to hear.
    pub data: u64,
}

/// What `epoll_ctl` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// `EPOLL_CTL_ADD`.
    Add(EpollEvent),
    /// `EPOLL_CTL_MOD`.
    Modify(EpollEvent),
    /// `EPOLL_CTL_DEL`.
    Remove,
}

#[derive(Debug)]
struct Entry {
    wanted: EpollEvent,
    /// Edge-triggered: what was told last, and how often the socket had been served by then.
    told: u32,
    progress: u64,
    disarmed: bool,
}

/// One instance.
#[derive(Debug, Default)]
pub struct Epoll {
    entries: BTreeMap<i32, Entry>,
}

impl Epoll {
    pub(super) fn forget(&mut self, fd: i32) {
        self.entries.remove(&fd);
    }
}

impl Host {
    /// `epoll_ctl`.
    pub fn epoll_ctl(&mut self, epfd: i32, fd: i32, watch: Watch) -> Result<(), Errno> {
        if matches!(self.fds.get(fd)?.kind, Kind::Epoll(_)) {
            return Err(Errno(libc::EINVAL));
        }
        let Kind::Epoll(epoll) = &mut self.fds.get_mut(epfd)?.kind else {
            return Err(Errno(libc::EINVAL));
        };
        let entry = |wanted| Entry {
            wanted,
            told: 0,
            progress: 0,
            disarmed: false,
        };
        match watch {
            Watch::Add(_) if epoll.entries.contains_key(&fd) => Err(Errno(libc::EEXIST)),
            Watch::Add(_) if epoll.entries.len() >= MAX_WATCHED => Err(Errno(libc::ENOSPC)),
            Watch::Add(event) => {
                epoll.entries.insert(fd, entry(event));
                Ok(())
            }
            Watch::Modify(event) => {
                let old = epoll.entries.get_mut(&fd).ok_or(Errno(libc::ENOENT))?;
                *old = entry(event);
                Ok(())
            }
            Watch::Remove => epoll
                .entries
                .remove(&fd)
                .map(|_| ())
                .ok_or(Errno(libc::ENOENT)),
        }
    }

    /// What `epoll_wait` finds now: at most `max` events, those of the lowest descriptors first.
    pub(super) fn epoll_ready(&mut self, epfd: i32, max: usize) -> Result<Vec<EpollEvent>, Errno> {
        let Kind::Epoll(epoll) = &self.fds.get(epfd)?.kind else {
            return Err(Errno(libc::EINVAL));
        };
        let watched: Vec<i32> = epoll.entries.keys().copied().collect();
        let states: Vec<(i32, u32, u64)> = watched
            .into_iter()
            .map(|fd| (fd, self.ready(fd), self.progress(fd)))
            .collect();
        let Kind::Epoll(epoll) = &mut self.fds.get_mut(epfd)?.kind else {
            return Err(Errno(libc::EINVAL));
        };
        let mut found = Vec::new();
        for (fd, ready, progress) in states {
            let Some(entry) = epoll.entries.get_mut(&fd).filter(|entry| !entry.disarmed) else {
                continue;
            };
            let always = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
            let events = ready & (entry.wanted.events & !HOW | always);
            let edge = entry.wanted.events & libc::EPOLLET as u32 != 0;
            let news = events & !entry.told != 0 || progress > entry.progress;
            entry.progress = progress;
            if events == 0 {
                entry.told = 0;
                continue;
            }
            if edge && !news || found.len() >= max {
                continue;
            }
            entry.told = events;
            entry.disarmed = entry.wanted.events & libc::EPOLLONESHOT as u32 != 0;
            found.push(EpollEvent {
                events,
                data: entry.wanted.data,
            });
        }
        Ok(found)
    }

    /// Grows when more has come to a connection, read or not, so that edge-triggered watchers are told again.
    fn progress(&self, fd: i32) -> u64 {
        match self.fds.get(fd).map(|descriptor| &descriptor.kind) {
            Ok(Kind::Tcp { id, .. }) => match self.stack().tcp_info(*id) {
                Ok(info) => info.bytes_received,
                Err(_) => 0,
            },
            _ => 0,
        }
    }
}
