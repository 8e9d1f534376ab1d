//! Files, directories and programs that are named: whether they are there, and whether those that
//! hold secrets are for their owner alone.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use crate::action::{Delivery, Method};
use crate::config::{Config, QueueKey};
use crate::diagnostic::{Diagnostic, Position};
use crate::listen::Auth;
use crate::table::{Backend, TableId};

use super::world::{Kind, World};

/// Bits of a mode that let others read.
const READABLE_BY_ALL: u32 = 0o004;

/// Bits that a private key's file must not have: all but those of 0740 (upstream's bound).
const KEY: u32 = 0o037;

/// Bits that a certificate's file must not have: all but those of 0755.
const CERTIFICATE: u32 = 0o022;

pub(super) fn check(config: &Config, world: &dyn World) -> Vec<Diagnostic> {
    let mut checks = Checks { config, world, found: Vec::new() };
    checks.secrets_in_the_configuration();
    checks.secret_tables();
    checks.certificates();
    checks.directories();
    checks.deliveries();
    checks.found
}

struct Checks<'c> {
    config: &'c Config,
    world: &'c dyn World,
    found: Vec<Diagnostic>,
}

impl Checks<'_> {
    fn add(&mut self, position: &Position, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(position.clone()));
    }

    /// A file with a key of the queue or of SRS in it.
    fn secrets_in_the_configuration(&mut self) {
        let config = self.config;
        let has_key = config.queue.encryption.iter().any(|key| matches!(key, QueueKey::Key(_)));
        let queue = config.places.of("queue encryption").filter(|_| has_key);
        for (position, what) in
            [(queue, "a key of the queue"), (config.places.of("srs key"), "a key of SRS")]
        {
            let Some(position) = position else { continue };
            let file = position.file.to_string();
            if self.is_readable_by_all(Path::new(&file)) {
                let warning = Diagnostic::warning(format!("{file} may be read by all"));
                self.add(position, warning.help(format!("{what} is in it: chmod o-r {file}")));
            }
        }
    }

    /// Tables with passwords in them.
    fn secret_tables(&mut self) {
        let config = self.config;
        let relays = config.actions().filter_map(|action| match &action.method {
            Method::Relay(relay) => relay.auth,
            Method::Local(_) => None,
        });
        let listeners = config.listeners.iter().filter_map(|listen| match listen.auth {
            Auth::Optional(table) | Auth::Require(table) => table,
            Auth::Never => None,
        });
        let tables: HashSet<TableId> = relays.chain(listeners).collect();
        for id in tables {
            let table = config.tables.get(id);
            let (Backend::File(path) | Backend::Db(path) | Backend::Passwd(path)) = &table.backend
            else {
                continue;
            };
            if let Some(position) = &table.position
                && self.is_readable_by_all(path)
            {
                let path = path.display();
                let warning = Diagnostic::warning(format!("{path} may be read by all"));
                let help = format!("passwords are in it: chmod 640 {path}");
                self.add(position, warning.help(help));
            }
        }
    }

    fn is_readable_by_all(&self, path: &Path) -> bool {
        let status = self.world.status(path);
        status.is_ok_and(|status| status.kind == Kind::File && status.mode & READABLE_BY_ALL != 0)
    }

    /// Files of `pki` and `ca` lines.
    fn certificates(&mut self) {
        let config = self.config;
        for pki in config.pki.values() {
            for (file, bits, what) in
                [(&pki.cert, CERTIFICATE, "certificate"), (&pki.key, KEY, "key")]
            {
                let Some(file) = file else { continue };
                self.certificate_file(&pki.position, file, bits, what);
            }
        }
        for ca in config.ca.values() {
            self.certificate_file(&ca.position, &ca.file, CERTIFICATE, "bundle");
        }
    }

    fn certificate_file(&mut self, position: &Position, file: &Path, bits: u32, what: &str) {
        let shown = file.display();
        if let Some(why) = self.missing(file, Kind::File) {
            let mistake = Diagnostic::error(format!("{what}: {shown}: {why}"));
            return self.add(position, mistake.help("correct the path, or put the file there"));
        }
        let Ok(status) = self.world.status(file) else { return };
        if status.owner != 0 {
            let warning = Diagnostic::warning(format!("{what}: {shown} does not belong to root"));
            self.add(
                position,
                warning.help(format!("its owner can change it: chown root {shown}")),
            );
        }
        if status.mode & bits != 0 {
            let (can, chmod) = match what {
                "key" => ("be read by others", "600"),
                _ => ("be changed by others", "644"),
            };
            let message = format!("{what}: {shown} can {can} (mode {:o})", status.mode);
            let warning = Diagnostic::warning(message);
            self.add(position, warning.help(format!("chmod {chmod} {shown}")));
        }
    }

    /// Where the queue and the control socket are to be.
    fn directories(&mut self) {
        let config = self.config;
        if let Some(position) = config.places.of("queue directory") {
            let path = &config.queue.directory;
            if self.world.status(path).is_ok_and(|status| status.kind != Kind::Directory) {
                let message = format!("{}: not a directory", path.display());
                let help = "the queue needs one of its own; it is made when nothing is there";
                self.add(position, Diagnostic::error(message).help(help));
            }
        }
        if let Some(position) = config.places.of("control socket")
            && let Some(parent) = config.control_socket.parent()
            && !parent.as_os_str().is_empty()
            && let Some(why) = self.missing(parent, Kind::Directory)
        {
            let message = format!("{}: {why}", parent.display());
            let help = "the directory of the control socket is not made by smtpd";
            self.add(position, Diagnostic::error(message).help(help));
        }
    }

    /// Commands and sockets of deliveries, processes of filters.
    fn deliveries(&mut self) {
        let config = self.config;
        for action in config.actions() {
            let Method::Local(local) = &action.method else { continue };
            match &local.delivery {
                Delivery::Mda(command) => {
                    let position = action.places.of("mda").unwrap_or(&action.position);
                    self.command(position, command.as_str());
                }
                Delivery::Lmtp { destination, .. } => {
                    let text = destination.as_str();
                    let position = action.places.of("lmtp").unwrap_or(&action.position);
                    if text.starts_with('/')
                        && !text.contains('%')
                        && let Err(error) = self.world.status(Path::new(text))
                        && error.kind() == io::ErrorKind::NotFound
                    {
                        let warning = Diagnostic::warning(format!("{text}: there is no such file"));
                        let help = "mail waits until the LMTP server has made its socket";
                        self.add(position, warning.help(help));
                    }
                }
                _ => {}
            }
        }
        for wrapper in config.wrappers.values() {
            self.command(&wrapper.position, &wrapper.command);
        }
        for processor in config.processors.values() {
            self.command(&processor.position, &processor.command);
        }
    }

    /// The program of a command, if it is written with its whole path.
    fn command(&mut self, position: &Position, command: &str) {
        let program = command.split_whitespace().next().unwrap_or("");
        let plain = program.bytes().all(|o| o.is_ascii_alphanumeric() || b"/._+-".contains(&o));
        if !program.starts_with('/') || !plain {
            return;
        }
        match self.world.status(Path::new(program)) {
            Ok(status) if status.kind == Kind::File && status.mode & 0o111 == 0 => {
                let warning = Diagnostic::warning(format!("{program} is not executable"));
                self.add(position, warning.help(format!("chmod +x {program}")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let warning = Diagnostic::warning(format!("there is no program {program}"));
                self.add(position, warning.help("install it, or correct its path"));
            }
            Err(_) => {}
        }
    }

    /// Why a path is not what it should be. What may not be looked at (as who checks is not root)
    /// is taken to be well.
    fn missing(&self, path: &Path, kind: Kind) -> Option<&'static str> {
        match self.world.status(path) {
            Ok(status) if status.kind == kind => None,
            Ok(status) if status.kind == Kind::Directory => Some("that is a directory"),
            Ok(_) if kind == Kind::File => Some("not a regular file"),
            Ok(_) => Some("not a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind == Kind::File => {
                Some("there is no such file")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("there is no such directory")
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Some("a file stands where a directory should be")
            }
            Err(_) => None,
        }
    }
}
