//! An explanation for people: who asks wants to know which rule matched, and why not another.

use std::io::{self, Write};

use smtpd_config::alias::Target;
use smtpd_config::explain::{Explanation, LookUp, Node, Trial, What};
use smtpd_config::observe::Fate;
use smtpd_config::{Account, Agent, Client, Config, Dialect, Facts, print};
use smtpd_engine::address::Mailbox;

use super::dialogue::{Dialogue, Door, Explained, Judged};
use super::options::Asked;
use super::verdict::because;
use crate::log::vis::vis_shown;

/// Prints the whole of a dry run.
///
/// # Errors
/// Of the output.
pub fn print(
    out: &mut dyn Write,
    config: &Config,
    asked: &Asked,
    dialogue: &Dialogue<'_>,
) -> io::Result<()> {
    let mut text = Text { out, config };
    text.session(asked, dialogue)?;
    if let Some(said) = &dialogue.refused {
        text.line(0, "")?;
        text.line(0, format!("The message is {} before the rules:", dialogue.verdict().word()))?;
        text.line(1, format!("{}: {}", said.command, said.reply))?;
    }
    for judged in &dialogue.recipients {
        text.line(0, "")?;
        text.recipient(judged)?;
    }
    text.inactive()
}

struct Text<'t> {
    out: &'t mut dyn Write,
    config: &'t Config,
}

const LEGACY: &str =
    "The file is in the grammar of before 2018: its rules are shown in today's words";

/// Columns of one level of the tree.
const LEVEL: usize = 4;

impl Text<'_> {
    /// A line at a level of the tree. Names in it may be anybody's.
    fn line(&mut self, level: usize, text: impl AsRef<str>) -> io::Result<()> {
        let text = vis_shown(text.as_ref()).to_string();
        writeln!(self.out, "{:1$}{text}", "", if text.is_empty() { 0 } else { level * LEVEL })
    }

    fn session(&mut self, asked: &Asked, dialogue: &Dialogue<'_>) -> io::Result<()> {
        let session = &asked.session;
        let mut facts = match session.client {
            Client::Socket => vec!["over the local socket".to_owned()],
            Client::Ip(ip) => vec![match &session.rdns {
                Some(name) => format!("from {ip} ({name})"),
                None => format!("from {ip}"),
            }],
        };
        facts.push(format!("HELO {}", session.helo));
        if dialogue.tls {
            facts.push("TLS".to_owned());
        }
        if let Some(user) = &session.auth {
            facts.push(format!("authenticated as {user}"));
        }
        if let Some(tag) = dialogue.door.tag(self.config, session) {
            facts.push(format!("tag {tag}"));
        }
        self.line(0, format!("Message from <{}> {}", asked.sender, facts.join(", ")))?;
        match dialogue.door {
            Door::Socket => {}
            Door::None => self.line(0, "No listener fits: only the rules are asked")?,
            Door::Listener(listen) => {
                let words = print::listen(self.config, listen);
                self.line(0, format!("Listener {}: {words}", listen.position))?;
            }
        }
        match self.config.dialect {
            Dialect::Modern => Ok(()),
            Dialect::Legacy => self.line(0, LEGACY),
        }
    }

    fn recipient(&mut self, judged: &Judged) -> io::Result<()> {
        let verdict = judged.verdict().word();
        let Some(explained) = &judged.explained else {
            self.line(0, format!("<{}> is {verdict} before the rules", judged.asked))?;
            return self.line(1, format!("reply: {}", judged.reply));
        };
        let explanation = &explained.explanation;
        let because = because(self.config, explanation);
        self.line(0, format!("<{}> is {verdict}: {because}", judged.asked))?;
        self.line(1, format!("reply: {}", judged.reply))?;
        if explanation.stop.is_none() {
            self.deliveries(explained)?;
        }
        self.line(0, "")?;
        self.node(explained, 0, 1)
    }

    /// What keeps the daemon from doing as it says here.
    fn inactive(&mut self) -> io::Result<()> {
        let config = self.config;
        for (nth, inactive) in config.inactive().iter().enumerate() {
            if nth == 0 {
                self.line(0, "")?;
                self.line(0, "smtpd does not start with this configuration yet:")?;
            }
            self.line(1, format!("{}: {}", inactive.position, inactive.what))?;
        }
        Ok(())
    }

    /// All that it comes to, before how.
    fn deliveries(&mut self, explained: &Explained) -> io::Result<()> {
        let nodes = explained.explanation.nodes.iter().zip(&explained.ways);
        for (node, way) in nodes.filter(|(node, _)| !node.repeated) {
            if let (Some(delivery), Some(way)) = (&node.delivery, way) {
                let who = match &delivery.agent {
                    Agent::Local { user, .. } => format!("{user} as <{}>", delivery.dest),
                    Agent::Relay | Agent::Command { .. } | Agent::File { .. } => {
                        format!("<{}>", delivery.dest)
                    }
                };
                self.line(1, format!("goes to {who}: {}", way.told()))?;
            }
        }
        Ok(())
    }

    /// A node, and those below it.
    fn node(&mut self, explained: &Explained, index: usize, level: usize) -> io::Result<()> {
        let explanation = &explained.explanation;
        let Some(node) = explanation.nodes.get(index) else { return Ok(()) };
        self.title(node, level)?;
        if index > explanation.last {
            return self.line(level + 1, "not reached");
        }
        if let What::Address(address) = &node.what {
            self.rules(&explained.facts.lend(), address, node, level + 1)?;
        }
        for look_up in &node.look_ups {
            self.look_up(look_up, level + 1)?;
        }
        for (path, elements) in &node.included {
            self.line(level + 1, format!("includes {path}: {elements} addresses and users"))?;
        }
        self.end(explained, index, level + 1)?;
        for (target, fate) in &node.targets {
            match fate {
                Some(Fate::Node(child)) => self.node(explained, *child, level + 1)?,
                Some(Fate::Known) => {
                    let target = shown(target);
                    self.line(level + 1, format!("{target}: met before, not followed again"))?;
                }
                None => {
                    self.line(level + 1, shown(target))?;
                    self.line(level + 2, stopped(self.config, explanation))?;
                }
            }
        }
        Ok(())
    }

    fn title(&mut self, node: &Node, level: usize) -> io::Result<()> {
        match &node.what {
            What::Address(address) if node.internal => {
                self.line(level, format!("<{address}>, which an alias led to"))
            }
            What::Address(address) => self.line(level, format!("<{address}>")),
            What::User(name) | What::Program(name) => self.line(level, name),
        }
    }

    fn rules(
        &mut self,
        facts: &Facts<'_>,
        address: &Mailbox,
        node: &Node,
        level: usize,
    ) -> io::Result<()> {
        for trial in &node.trials {
            self.trial(facts, address, node.internal, trial, level)?;
        }
        let all = self.config.matches.len();
        let tried = node.trials.last().map_or(0, |trial| trial.rule + 1);
        match (node.trials.is_empty(), all - tried) {
            (true, _) => {
                self.line(level, "its rules are left out here: there are too many addresses")
            }
            (false, 0) => Ok(()),
            (false, 1) => self.line(level, format!("rule {all} is not asked")),
            (false, _) => self.line(level, format!("rules {} to {all} are not asked", tried + 1)),
        }
    }

    fn trial(
        &mut self,
        facts: &Facts<'_>,
        address: &Mailbox,
        internal: bool,
        trial: &Trial,
        level: usize,
    ) -> io::Result<()> {
        let rule = &self.config.matches[trial.rule];
        let (mark, reason) = match trial.outcome {
            Ok(None) => ("yes", None),
            Ok(Some(_)) => (" no", trial.reason(self.config, facts, address, internal)),
            Err(_) => ("???", None),
        };
        let words = print::rule(self.config, rule);
        let number = trial.rule + 1;
        self.line(level, format!("{mark} rule {number}  {}  {words}", rule.position))?;
        let missed = trial.outcome.ok().flatten().map(|miss| miss.condition);
        for look_up in trial.look_ups.iter().filter(|one| one.condition != missed) {
            let words = look_up.condition.map(|one| print::condition(self.config, rule, one));
            let words = words.unwrap_or_default();
            let end = if look_up.answer.is_ok() { "holds" } else { "cannot be said" };
            self.line(level + 2, format!("{words} {end}: {}", look_up.told_to(self.config)))?;
        }
        if let Some(reason) = reason {
            self.line(level + 2, format!("{} fails: {}", reason.condition, reason.text))?;
            if let Some(hint) = reason.hint {
                self.line(level + 2, format!("({hint})"))?;
            }
        }
        Ok(())
    }

    fn look_up(&mut self, look_up: &LookUp, level: usize) -> io::Result<()> {
        self.line(level, look_up.told(self.config))
    }

    /// What a node comes to, if it leads to nobody else.
    fn end(&mut self, explained: &Explained, index: usize, level: usize) -> io::Result<()> {
        let explanation = &explained.explanation;
        let node = &explanation.nodes[index];
        if let Some((name, account)) = &node.account {
            self.line(level, user(name, account))?;
        }
        if node.forwarded {
            self.line(level, "has a .forward, which is followed")?;
        }
        let Some(delivery) = &node.delivery else {
            // The expansion has ended somewhere: here, unless an element of the alias did it.
            let here = index == explanation.last;
            let by_element = node.targets.last().is_some_and(|(_, fate)| fate.is_none());
            if explanation.stop.is_some() && here && !by_element {
                self.line(level, stopped(self.config, explanation))?;
            }
            return Ok(());
        };
        if node.repeated {
            return self.line(level, "=> gets the message already");
        }
        let action = &delivery.action;
        let words = print::action(self.config, action);
        let name = match self.config.dialect {
            Dialect::Modern => format!("action \"{}\"", action.name),
            Dialect::Legacy => "action".to_owned(),
        };
        self.line(level, format!("{name}  {}  {words}", action.position))?;
        if let Some(Some(way)) = explained.ways.get(index) {
            for look_up in way.look_ups() {
                self.look_up(look_up, level)?;
            }
            self.line(level, format!("=> {}", way.told()))?;
        }
        Ok(())
    }
}

fn stopped(config: &Config, explanation: &Explanation) -> String {
    format!("=> {}", because(config, explanation))
}

fn user(name: &str, account: &Account) -> String {
    match account {
        Account::User { user, runs_as } => {
            let home = user.home.display();
            let other = match runs_as.name == user.name {
                true => String::new(),
                false => format!(", delivered as {} (uid {})", runs_as.name, runs_as.uid),
            };
            format!("user {name}: uid {}, home {home}{other}", user.uid)
        }
        Account::Own => format!("user {name}: anybody is one, delivered in the daemon's name"),
        Account::Unknown => format!("user {name}: there is none"),
        Account::Later | Account::Failed => format!("user {name}: could not be looked up"),
    }
}

/// An element of an alias as it is written.
pub fn shown(target: &Target) -> String {
    match target {
        Target::Error(reply) => format!("error:{reply}"),
        Target::Include(path) => format!(":include:{path}"),
        Target::Filter(command) => format!("|{command}"),
        Target::File(path) => path.clone(),
        Target::Address(address) => format!("<{address}>"),
        Target::User(name) => name.clone(),
    }
}
