//! Where the queue and the daemon are: what the command line says, else the configuration, else
//! the defaults.

use std::path::{Path, PathBuf};

use smtpd_config::{Config, limits};

use super::Failure;
use crate::control::DEFAULT_SOCKET;
use crate::daemon::machine::Machine;
use crate::options::DEFAULT_FILE;

/// What the command line says.
#[derive(Default)]
pub struct Place {
    /// `-s socket`
    pub socket: Option<PathBuf>,
    /// `-f file`
    pub file: Option<PathBuf>,
    /// `-D macro=value`
    pub macros: Vec<(String, String)>,
    /// `-q directory`
    pub directory: Option<PathBuf>,
}

impl Place {
    /// The control socket. Without `-s` and `-f` it is where it always is: asking the daemon needs
    /// no configuration.
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        match (&self.socket, &self.file) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(file)) => Ok(self.load(file)?.control_socket),
            (None, None) => Ok(DEFAULT_SOCKET.into()),
        }
    }

    /// The configuration; `None` when none was named and there is none where it always is.
    pub fn config(&self) -> Result<Option<Config>, Failure> {
        let default = Path::new(DEFAULT_FILE);
        match &self.file {
            Some(file) => self.load(file).map(Some),
            None if default.exists() => self.load(default).map(Some),
            None => Ok(None),
        }
    }

    /// The configuration that was named, or the one that should be where it always is.
    pub fn needed_config(&self) -> Result<Config, Failure> {
        self.load(self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE)))
    }

    /// The queue directory. With `-q` a configuration with a mistake is no hindrance.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.directory {
            return Ok(directory.clone());
        }
        let config = self.config()?;
        Ok(config.map_or_else(|| limits::QUEUE_DIRECTORY.into(), |config| config.queue.directory))
    }

    /// The configuration as far as it is there for the keys of a queue: with `-q` its mistakes
    /// are no hindrance here either.
    pub fn config_for_keys(&self) -> Result<Option<Config>, Failure> {
        match self.directory {
            Some(_) => Ok(self.config().unwrap_or_default()),
            None => self.config(),
        }
    }

    fn load(&self, file: &Path) -> Result<Config, Failure> {
        let machine =
            Machine::new().map_err(|error| Failure::Queue(format!("interfaces: {error}")))?;
        let loaded =
            smtpd_config::load(&file.to_string_lossy(), &self.macros, machine.host(), &machine);
        let (config, _) = loaded.map_err(|mistakes| {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Failure::Configuration(lines.join("\n"))
        })?;
        Ok(config)
    }
}
