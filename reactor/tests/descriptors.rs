//! No descriptor is left for another connection. Alone in its program: the bound is the whole
//! process's.

mod common;

use common::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

#[test]
fn accepting_goes_on_when_there_are_descriptors_again() {
    let server = Server::start();
    let mut there = server.connect();
    server.sender.pause(true);
    there.say("NOOP", "250");
    let mut waiting: Vec<_> = (0..5).map(|_| server.connect_silently()).collect();

    let old = getrlimit(Resource::Nofile);
    // The lowest free descriptor is the bound: not one more can be had.
    let free = File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(free), ..old }).unwrap();
    server.sender.pause(false);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stats.accepted(), 1);
    // The sessions that are there do not notice.
    there.say("NOOP", "250");

    setrlimit(Resource::Nofile, old).unwrap();
    for client in &mut waiting {
        client.expect("220");
        client.say("NOOP", "250");
    }
    drop((there, waiting));
    server.stop();
}
