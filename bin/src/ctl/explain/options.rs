//! The arguments of `smtpctl explain`: one message, and the session it comes in.

use std::net::IpAddr;
use std::path::PathBuf;

use smtpd_config::Client;
use smtpd_engine::address::HeloName;

use crate::options::definition;

const USAGE: &str = "usage: smtpctl explain [-j] [-c file] [-D macro=value] [--local | --from-ip \
                     address] [--from-rdns name] [--helo name] [--port number] [--tag tag] [--tls] \
                     [--auth user] --mail-from address --rcpt-to address ...";

/// A message as it is asked about.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// `-c file`
    pub file: Option<PathBuf>,
    /// `-D macro=value`
    pub macros: Vec<(String, String)>,
    /// `-j`
    pub json: bool,
    /// The session.
    pub session: Session,
    /// The reverse-path without brackets; empty for the null one.
    pub sender: String,
    /// The forward-paths without brackets; never empty.
    pub recipients: Vec<String>,
}

/// A session as it is asked about.
#[derive(Debug, PartialEq, Eq)]
pub struct Session {
    /// Who sends.
    pub client: Client,
    /// `--from-rdns`
    pub rdns: Option<String>,
    /// `--helo`; else what a host without a name says, its address.
    pub helo: String,
    /// `--port`: the listener with that port.
    pub port: Option<u16>,
    /// `--tag`: the listener with that tag.
    pub tag: Option<String>,
    /// `--tls`; also with `--auth`, which no listener offers without.
    pub tls: bool,
    /// `--auth`
    pub auth: Option<String>,
}

/// Reads the words behind `explain`.
///
/// # Errors
/// What to print: what is wrong with them, and the usage.
pub fn parse(words: &[String]) -> Result<Asked, String> {
    asked(words).map_err(|what| format!("explain: {what}\n{USAGE}"))
}

fn asked(words: &[String]) -> Result<Asked, String> {
    let mut known = getopts::Options::new();
    known.optmulti("D", "", "", "").optflag("j", "json", "").optopt("c", "", "", "");
    known.optflag("", "local", "").optflag("", "tls", "");
    for option in ["from-ip", "from-rdns", "helo", "port", "tag", "auth", "mail-from"] {
        known.optopt("", option, "", "");
    }
    known.optmulti("", "rcpt-to", "", "");
    let given = known.parse(words).map_err(|error| error.to_string())?;
    if let Some(word) = given.free.first() {
        return Err(format!("{word}: nothing of this kind is expected"));
    }
    // What goes into a line of SMTP must not be two.
    if words.iter().any(|word| word.contains(char::is_control)) {
        return Err("control characters are in no name or address".to_owned());
    }
    let client = match (given.opt_str("from-ip"), given.opt_present("local")) {
        (Some(_), true) => return Err("--local and --from-ip exclude each other".to_owned()),
        (Some(text), false) => {
            let ip: IpAddr = text.parse().map_err(|_| format!("--from-ip {text}: no address"))?;
            Client::Ip(ip.to_canonical())
        }
        (None, _) => Client::Socket,
    };
    if client == Client::Socket {
        let network = ["from-rdns", "port", "tls", "auth"];
        if let Some(option) = network.iter().find(|option| given.opt_present(option)) {
            return Err(format!("--{option} is of a session over the network: it needs --from-ip"));
        }
    }
    let helo = given.opt_str("helo").unwrap_or_else(|| match client {
        Client::Socket => "localhost".to_owned(),
        Client::Ip(IpAddr::V4(ip)) => format!("[{ip}]"),
        Client::Ip(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
    });
    if HeloName::parse(helo.as_bytes()).is_none() {
        return Err(format!("--helo {helo}: no name"));
    }
    let port = match given.opt_str("port") {
        Some(text) => Some(text.parse().map_err(|_| format!("--port {text}: no port"))?),
        None => None,
    };
    let auth = given.opt_str("auth");
    let session = Session {
        client,
        rdns: given.opt_str("from-rdns"),
        helo,
        port,
        tag: given.opt_str("tag"),
        tls: given.opt_present("tls") || auth.is_some(),
        auth,
    };
    let sender =
        given.opt_str("mail-from").ok_or("--mail-from is missing; \"\" is the null sender")?;
    let recipients: Vec<String> =
        given.opt_strs("rcpt-to").iter().map(|text| bare(text).to_owned()).collect();
    if recipients.is_empty() {
        return Err("--rcpt-to is missing".to_owned());
    }
    let macros =
        given.opt_strs("D").iter().map(|text| definition(text)).collect::<Result<_, _>>()?;
    Ok(Asked {
        file: given.opt_str("c").map(PathBuf::from),
        macros,
        json: given.opt_present("json"),
        session,
        sender: bare(&sender).to_owned(),
        recipients,
    })
}

/// An address without the brackets that may be around it.
fn bare(text: &str) -> &str {
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        asked(&words)
    }

    #[test]
    fn without_an_address_it_is_the_local_socket() {
        let asked = read("--mail-from <> --rcpt-to <a@b> --rcpt-to c").unwrap();
        assert_eq!((asked.session.client, asked.session.tls), (Client::Socket, false));
        assert_eq!((asked.sender.as_str(), asked.session.helo.as_str()), ("", "localhost"));
        assert_eq!(asked.recipients, ["a@b", "c"]);
        assert_eq!(
            read("--local --mail-from a --rcpt-to b").unwrap().session.client,
            Client::Socket
        );
    }

    #[test]
    fn who_authenticates_uses_tls() {
        let line = "-j -c f -D a=b --from-ip ::ffff:192.0.2.1 --auth joe --mail-from a --rcpt-to b";
        let asked = read(line).unwrap();
        assert!(asked.json && asked.session.tls);
        assert_eq!(asked.session.helo, "[192.0.2.1]");
        assert_eq!(asked.macros, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(asked.file, Some(PathBuf::from("f")));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (line, told) in [
            ("--mail-from a", "--rcpt-to is missing"),
            ("--rcpt-to a", "--mail-from is missing; \"\" is the null sender"),
            ("a@b --mail-from a --rcpt-to b", "a@b: nothing of this kind is expected"),
            (
                "--tls --mail-from a --rcpt-to b",
                "--tls is of a session over the network: it needs --from-ip",
            ),
            ("--from-ip x --mail-from a --rcpt-to b", "--from-ip x: no address"),
            (
                "--local --from-ip ::1 --mail-from a --rcpt-to b",
                "--local and --from-ip exclude each other",
            ),
            ("--from-ip ::1 --port 70000 --mail-from a --rcpt-to b", "--port 70000: no port"),
            ("-D x --mail-from a --rcpt-to b", "-D x: expected macro=value"),
            ("--helo", "Argument to option 'helo' missing"),
        ] {
            assert_eq!(read(line), Err(told.to_owned()), "{line}");
        }
        let words = ["--mail-from", "a>\r\nRCPT TO:<x", "--rcpt-to", "b"].map(str::to_owned);
        assert!(asked(&words).is_err());
    }
}
