//! The header of a transcript as settings of a session.

use smtpd_engine::server::{Demand, Params, Peer, Report, StrayNewline, TlsInfo};

use super::driver::tls_info;
use super::{Header, ListenerOption, PeerSpec};

/// The server's name where a transcript does not say it.
const HOSTNAME: &str = "mx.example.org";
/// The client's address where a transcript does not say it (RFC 5737).
const CLIENT: &str = "192.0.2.1";

/// What the header of a transcript says, as the engine wants it.
pub(super) struct Setting {
    pub(super) params: Params,
    pub(super) peer: Peer,
    pub(super) tls: Option<TlsInfo>,
    pub(super) hostname: String,
}

impl Setting {
    /// Reads the header's options; an error comes with its line.
    pub(super) fn of(header: &Header) -> Result<Self, (usize, String)> {
        let peer = match header.peer {
            Some(PeerSpec::Local) => Peer::Local,
            Some(PeerSpec::Ip(ip)) => Peer::Ip(ip),
            None => Peer::Ip(CLIENT.parse().expect("an address")),
        };
        let mut setting =
            Self { params: Params::default(), peer, tls: None, hostname: HOSTNAME.into() };
        if peer == Peer::Local {
            // What programs of this machine write ends in LF; the daemon's own listener for
            // them is set up like this.
            setting.params.stray_newline = StrayNewline::Normalize;
        }
        for option in &header.listener {
            setting.option(option).map_err(|text| (option.line, text))?;
        }
        Ok(setting)
    }

    fn option(&mut self, option: &ListenerOption) -> Result<(), String> {
        let params = &mut self.params;
        let unknown = || format!("no such listener option: {}", option.name);
        let Some(value) = option.value.as_deref() else {
            match option.name.as_str() {
                "tls" => params.starttls = Demand::Offered,
                "tls-require" => params.starttls = Demand::Required,
                "smtps" => self.tls = Some(tls_info()),
                "auth" => params.auth = Demand::Required,
                "auth-optional" => params.auth = Demand::Offered,
                "scram" => params.scram = true,
                "no-dsn" => params.dsn = false,
                _ => return Err(unknown()),
            }
            return Ok(());
        };
        let number = || value.parse::<u32>().map_err(|_| format!("{value} is no number"));
        match (option.name.as_str(), value) {
            ("hostname", name) => self.hostname = name.into(),
            ("max-message-size", _) => params.max_size = number()?.into(),
            ("max-rcpt", _) => params.max_recipients = number()?,
            ("max-mails", _) => params.max_mails = number()?,
            ("stray-newline", "reject") => params.stray_newline = StrayNewline::Reject,
            ("stray-newline", "normalize") => params.stray_newline = StrayNewline::Normalize,
            ("report", "failures") => params.report = Report::Failures,
            ("report", "all") => params.report = Report::All,
            ("ask", commands) => {
                for command in commands.split(',') {
                    match command {
                        "starttls" => params.ask.starttls = true,
                        "rset" => params.ask.rset = true,
                        "noop" => params.ask.noop = true,
                        "quit" => params.ask.quit = true,
                        _ => return Err(format!("`ask` knows no {command}")),
                    }
                }
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}
