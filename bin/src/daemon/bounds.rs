//! What `scheduler limit` and `mda limit` bound in the scheduler. What each word does here is in
//! smtpd.conf(5). What is relayed is handed out as soon as it is due: `mta limit` bounds the
//! connections, and the relay keeps to it.

use smtpd_config::{Config, LimitSet};
use smtpd_queue::lanes::{Limits, Share};
use smtpd_queue::scheduler::Options;

/// Threads for local deliveries, whatever `max-session` says: each costs memory.
const WORKERS: usize = 256;

/// The bounds of the scheduler by the configuration.
#[must_use]
pub fn options(config: &Config) -> Options {
    let mut options = Options::default();
    options.inflight = number(&config.scheduler, "max-inflight", options.inflight);
    options.mda.batch = number(&config.scheduler, "max-evp-batch-size", options.mda.batch);
    options.mda.batches = number(&config.mda, "max-session", options.mda.batches).min(WORKERS);
    options.mda.lane.batches = number(&config.mda, "max-session-per-user", 1);
    options.mda.lane.batch = options.mda.batch;
    options.mta = Limits {
        batches: usize::MAX,
        brisk: usize::MAX,
        batch: options.mda.batch,
        late: None,
        lane: Share { batches: usize::MAX, batch: usize::MAX },
        ..options.mda
    };
    options
}

fn number(limits: &LimitSet, word: &str, otherwise: usize) -> usize {
    limits.get(word).map_or(otherwise, |number| number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::Path;

    struct OneFile(&'static str);

    impl smtpd_config::Files for OneFile {
        fn open(&self, _path: &Path) -> io::Result<Box<dyn io::Read + '_>> {
            Ok(Box::new(self.0.as_bytes()))
        }
    }

    fn config(text: &'static str) -> Config {
        let host = smtpd_config::Host { name: "mx.example.org".into(), addresses: Vec::new() };
        smtpd_config::load("smtpd.conf", &[], host, &OneFile(text)).unwrap().0
    }

    #[test]
    fn every_word_has_its_place() {
        let config = config(
            "scheduler limit max-inflight 11 max-evp-batch-size 12\n\
             mda limit max-session 13 max-session-per-user 4\n\
             match for any reject\n",
        );
        assert!(config.inactive().is_empty());
        let options = options(&config);
        assert_eq!((options.inflight, options.mda.batch, options.mta.batch), (11, 12, 12));
        assert_eq!((options.mda.batches, options.mda.lane.batches), (13, 4));
    }

    #[test]
    fn there_are_no_more_threads_than_the_machine_can_bear() {
        let config = config("mda limit max-session 100000\nmatch for any reject\n");
        assert_eq!(options(&config).mda.batches, WORKERS);
    }
}
