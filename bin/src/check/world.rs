//! This machine as the checks see it.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use smtpd_config::check::{CertificateFault, Kind, Status, World};
use smtpd_config::surroundings::{ReadAt, Stamp};
use smtpd_config::{Files, Interfaces, Outside};

use super::certificate;
use crate::daemon::machine::Machine;
use crate::daemon::outside::Lookups;
use crate::daemon::users::Remembered;

/// The machine, its users and its maps.
pub(super) struct Checked {
    machine: Machine,
    lookups: Lookups,
}

impl Checked {
    pub fn new(machine: Machine) -> Checked {
        Checked { machine, lookups: Lookups::new(Remembered::default()) }
    }
}

impl Files for Checked {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        self.machine.open(path)
    }

    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        self.machine.open_map(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        self.machine.stamp(path)
    }
}

impl Interfaces for Checked {
    fn interface(&self, name: &str) -> Vec<SocketAddr> {
        self.machine.interface(name)
    }

    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Interfaces::host(&self.machine, name)
    }
}

impl World for Checked {
    fn outside(&self) -> &dyn Outside {
        &self.lookups
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        let metadata = fs::metadata(path)?;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Directory,
            _ => Kind::Other,
        };
        Ok(Status { kind, mode: metadata.mode() & 0o7777, owner: metadata.uid() })
    }

    fn certificate(&self, chain: &[u8], key: &[u8], names: &[String]) -> Vec<CertificateFault> {
        certificate::faults(chain, key, names)
    }
}
