//! [`Local`]: a worker on our own executor.

use std::future::Future;
use std::io;
use std::rc::Rc;

use super::executor::Beside;
use super::{LocalExecutor, Runtime, RuntimeSettings, Spawn};
use crate::error::Error;
use crate::worker::Driver;

/// [`LocalExecutor`], between two turns of which the device has its own. It never sleeps and has no reactor: kernel sockets, and what asks
/// for tokio, are not for it. The least cost for a program of our sockets, [`time`](crate::time) and channels.
#[derive(Debug)]
pub struct Local {
    executor: LocalExecutor,
    driver: Rc<Driver>,
}

struct Device<'a>(&'a Driver);

impl Beside for Device<'_> {
    #[inline]
    fn turn(&mut self) {
        self.0.turn();
    }

    #[inline]
    fn rest(&mut self) -> bool {
        self.0.rest();
        false
    }
}

impl Runtime for Local {
    const NAME: &'static str = "local";

    fn build(_: &RuntimeSettings, driver: Rc<Driver>) -> io::Result<Self> {
        Ok(Self {
            executor: LocalExecutor::new(),
            driver,
        })
    }

    fn spawner(&self) -> Rc<dyn Spawn> {
        self.executor.spawner()
    }

    fn block_on<F: Future>(&self, root: F) -> Result<F::Output, Error> {
        self.executor.run_beside(root, &mut Device(&self.driver))
    }

    fn shutdown(self) {
        self.executor.close();
    }
}
