//! What settings have to do with each other: mistakes that no single value shows.

mod network;
mod port;
mod service;
mod system;

use std::collections::HashMap;
use std::hash::Hash;

use crate::file::File;
use crate::places::Places;
use crate::problem::{Kind, Problem};
use crate::sections::{Config, Network, Port};

/// Collects what is wrong, with the lines that it is about.
pub(crate) struct Check<'a> {
    config: &'a Config,
    places: &'a Places,
    problems: &'a mut Vec<Problem>,
}

/// Looks at all of it.
pub(crate) fn check(config: &Config, places: &Places, problems: &mut Vec<Problem>) {
    let mut check = Check {
        config,
        places,
        problems,
    };
    system::check(&mut check);
    port::check(&mut check);
    network::check(&mut check);
    service::check(&mut check);
}

impl Check<'_> {
    /// Tells of a problem with the setting at `path`, or where it would have to be.
    fn tell(
        &mut self,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Problem {
        let place = self.places.nearest(path).clone();
        let problem = Problem::new(Kind::Contradiction, message)
            .on(path)
            .at(&place, "")
            .help(help);
        self.problems.push(problem);
        // It was pushed just now.
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Tells that one of several keys of what is at `path` has to be there, or, without keys, what is at `path` itself.
    fn lack(
        &mut self,
        path: &str,
        keys: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let depends = match keys {
            [] => vec![path.to_owned()],
            keys => keys.iter().map(|key| format!("{path}.{key}")).collect(),
        };
        let problem = self.tell(path, message, help);
        problem.kind = Kind::MissingKey;
        problem.depends = depends;
    }

    /// Tells that two settings can't be together.
    fn conflict(
        &mut self,
        one: &str,
        other: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.places.nearest(other).clone();
        let problem = self.tell(one, message, help);
        problem.also.push((place, "together with this".to_owned()));
        problem.also_about.push(other.to_owned());
    }

    /// Tells that something is there a second time.
    fn twice(
        &mut self,
        again: &str,
        first: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let first = self.places.nearest(first).clone();
        let problem = self.tell(again, message, help);
        problem.label = "again here".to_owned();
        problem.also.push((first, "first here".to_owned()));
    }

    /// Tells of each value that is there a second time: what it is called, and its path, by value.
    fn unique<K: Hash + Eq>(
        &mut self,
        values: Vec<(K, String)>,
        message: impl Fn(&K) -> String,
        help: &str,
    ) {
        let mut seen: HashMap<K, String> = HashMap::new();
        for (value, path) in values {
            if let Some(first) = seen.get(&value) {
                let message = message(&value);
                self.twice(&path, first, message, help);
            } else {
                seen.insert(value, path);
            }
        }
    }
}

impl Config {
    /// The network of each port, with the path at which it stands.
    pub fn networks(&self) -> Vec<(String, &Port, &Network)> {
        let outside = self.network != Network::default();
        let ports = self.port.iter().enumerate();
        ports
            .map(|(index, port)| match (self.port.len(), outside) {
                (1, true) => ("network".to_owned(), port, &self.network),
                _ => (format!("port[{index}].network"), port, &port.network),
            })
            .collect()
    }
}

/// What is no mistake, and not meant so perhaps.
pub(crate) fn warnings(file: &File) -> Vec<Problem> {
    system::warnings(file)
}

/// The first of a port's names that there is: its own, or its device's.
pub(crate) fn port_name(port: &Port, index: usize) -> String {
    let device = port.vdev.as_deref().map(device_name);
    let own = port
        .name
        .as_deref()
        .or(device)
        .or(port.interface.as_deref());
    let pci = port.pci.as_ref().map(|pci| pci.as_str());
    own.or(pci)
        .map_or_else(|| format!("port {index}"), str::to_owned)
}

/// A virtual device's name: all before its arguments.
pub(crate) fn device_name(vdev: &str) -> &str {
    vdev.split_once(',').map_or(vdev, |(name, _)| name)
}
