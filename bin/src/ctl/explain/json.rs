//! An explanation for programs; smtpctl(8) says what each field is.

use serde_json::{Value, json};
use smtpd_config::alias::Target;
use smtpd_config::explain::{Answer, LookUp, Node, Trial, What};
use smtpd_config::observe::{Fate, Never};
use smtpd_config::rules::{Condition, Facts};
use smtpd_config::table::Service;
use smtpd_config::{Account, Client, Config, Position, print};

use super::dialogue::{Dialogue, Door, Explained, Judged};
use super::options::Asked;
use super::text::shown;
use super::verdict::because;
use super::way::Way;

/// The number of the form; a change that a reader of the old form would not bear makes it larger.
const FORMAT: u32 = 1;

/// The whole of a dry run.
pub fn document(config: &Config, asked: &Asked, dialogue: &Dialogue<'_>) -> Value {
    let session = &asked.session;
    let listener = match dialogue.door {
        Door::Listener(listen) => json!({
            "file": &*listen.position.file,
            "line": listen.position.line,
            "text": print::listen(config, listen),
        }),
        Door::Socket | Door::None => Value::Null,
    };
    let refused = dialogue.refused.as_ref();
    let inactive = config.inactive().iter().map(|inactive| {
        let Position { file, line, .. } = &inactive.position;
        json!({ "file": &**file, "line": line, "text": inactive.what })
    });
    json!({
        "format": FORMAT,
        "verdict": dialogue.verdict().key(),
        "sender": asked.sender,
        "session": {
            "client": match session.client {
                Client::Socket => "local".to_owned(),
                Client::Ip(ip) => ip.to_string(),
            },
            "rdns": session.rdns,
            "helo": session.helo,
            "tag": dialogue.door.tag(config, session),
            "tls": dialogue.tls,
            "auth": session.auth,
            "listener": listener,
        },
        "inactive": inactive.collect::<Vec<_>>(),
        "refused": refused.map(|said| json!({ "command": said.command, "reply": said.reply })),
        "recipients": dialogue.recipients.iter().map(|one| recipient(config, one)).collect::<Vec<_>>(),
    })
}

fn recipient(config: &Config, judged: &Judged) -> Value {
    let explained = judged.explained.as_ref();
    json!({
        "rcpt": judged.asked,
        "verdict": judged.verdict().key(),
        "reply": judged.reply,
        "because": explained.map(|explained| because(config, &explained.explanation)),
        "nodes": explained.map(|explained| nodes(config, explained)),
    })
}

fn nodes(config: &Config, explained: &Explained) -> Vec<Value> {
    let explanation = &explained.explanation;
    let all = explanation.nodes.iter().enumerate();
    all.map(|(index, node)| self::node(config, explained, (index, node))).collect()
}

fn node(config: &Config, explained: &Explained, (index, node): (usize, &Node)) -> Value {
    let facts = explained.facts.lend();
    let (address, user, program) = match &node.what {
        What::Address(address) => (Some(address), None, None),
        What::User(name) => (None, Some(name), None),
        What::Program(text) => (None, None, Some(text)),
    };
    let rules: Vec<Value> = match address {
        Some(address) => {
            let one = |trial| self::trial(config, &facts, (address, node.internal), trial);
            node.trials.iter().map(one).collect()
        }
        None => Vec::new(),
    };
    let targets = node.targets.iter().map(|(target, fate)| self::target(target, *fate));
    let included = node.included.iter();
    let included = included.map(|(path, elements)| json!({ "path": path, "elements": elements }));
    let way = explained.ways.get(index).and_then(Option::as_ref);
    let way_look_ups = way.into_iter().flat_map(Way::look_ups);
    json!({
        "parent": node.parent,
        "address": address.map(|address| address.as_str()),
        "user": user,
        "program": program,
        "internal": node.internal,
        "reached": index <= explained.explanation.last,
        "rules": rules,
        "lookups": node.look_ups.iter().map(|one| look_up(config, one)).collect::<Vec<_>>(),
        "included": included.collect::<Vec<_>>(),
        "forward": node.forwarded,
        "targets": targets.collect::<Vec<_>>(),
        "account": node.account.as_ref().map(|(name, account)| self::account(name, account)),
        "delivery": node.delivery.as_ref().map(|delivery| json!({
            "dest": delivery.dest.as_str(),
            "action": &*delivery.action.name,
            "file": &*delivery.action.position.file,
            "line": delivery.action.position.line,
            "text": print::action(config, &delivery.action),
            "way": way.map(Way::told),
            "lookups": way_look_ups.map(|one| look_up(config, one)).collect::<Vec<_>>(),
            "repeated": node.repeated,
        })),
    })
}

fn trial(
    config: &Config,
    facts: &Facts<'_>,
    (address, internal): (&smtpd_engine::address::Mailbox, bool),
    trial: &Trial,
) -> Value {
    let rule = &config.matches[trial.rule];
    let Position { file, line, .. } = &rule.position;
    let miss = trial.outcome.ok().flatten();
    let reason = trial.reason(config, facts, address, internal);
    json!({
        "rule": trial.rule + 1,
        "file": &**file,
        "line": line,
        "text": print::rule(config, rule),
        "outcome": match trial.outcome {
            Ok(None) => "matches",
            Ok(Some(_)) => "fails",
            Err(_) => "error",
        },
        "failed": reason.map(|reason| json!({
            "condition": miss.map(|miss| condition(miss.condition)),
            "text": reason.condition,
            "value": reason.value,
            "because": reason.text,
            "never": miss.and_then(|miss| miss.never).map(never),
        })),
        "lookups": trial.look_ups.iter().map(|one| look_up(config, one)).collect::<Vec<_>>(),
    })
}

fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Tag => "tag",
        Condition::From => "from",
        Condition::For => "for",
        Condition::Helo => "helo",
        Condition::Auth => "auth",
        Condition::Tls => "tls",
        Condition::MailFrom => "mail-from",
        Condition::RcptTo => "rcpt-to",
    }
}

fn never(never: Never) -> &'static str {
    match never {
        Never::NoClient => "no-client",
        Never::NoReverseName => "no-reverse-name",
    }
}

fn look_up(config: &Config, look_up: &LookUp) -> Value {
    let (answer, value) = match &look_up.answer {
        Ok(Answer::No) => ("no", None),
        Ok(Answer::Yes) => ("yes", None),
        Ok(Answer::Value(value)) => ("yes", Some(value.clone())),
        Err(error) => ("error", Some(error.to_string())),
    };
    json!({
        "condition": look_up.condition.map(condition),
        "table": print::table(config, look_up.table),
        "service": service(look_up.service),
        "key": look_up.key,
        "answer": answer,
        "value": value,
    })
}

/// As table(5) calls them.
fn service(service: Service) -> &'static str {
    match service {
        Service::Alias => "alias",
        Service::Domain => "domain",
        Service::Credentials => "credentials",
        Service::Auth => "auth",
        Service::NetAddr => "netaddr",
        Service::UserInfo => "userinfo",
        Service::Source => "source",
        Service::MailAddr => "mailaddr",
        Service::AddrName => "addrname",
        Service::MailAddrMap => "mailaddrmap",
        Service::RelayHost => "relayhost",
        Service::String => "string",
        Service::Regex => "regex",
    }
}

fn target(target: &Target, fate: Option<Fate>) -> Value {
    let (fate, node) = match fate {
        Some(Fate::Node(node)) => ("node", Some(node)),
        Some(Fate::Known) => ("known", None),
        None => ("ends", None),
    };
    json!({ "text": shown(target), "fate": fate, "node": node })
}

fn account(name: &str, account: &Account) -> Value {
    let (found, user, runs_as) = match account {
        Account::User { user, runs_as } => ("user", Some(user), Some(runs_as)),
        Account::Own => ("anybody", None, None),
        Account::Unknown => ("none", None, None),
        Account::Later | Account::Failed => ("error", None, None),
    };
    json!({
        "name": name,
        "found": found,
        "uid": user.map(|user| user.uid),
        "home": user.map(|user| user.home.to_string_lossy()),
        "as": runs_as.map(|user| &*user.name),
    })
}
