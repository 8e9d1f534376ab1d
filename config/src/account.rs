//! Users: the entries of `userbase` tables, and whose name a delivery is made in.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::action::{Action, Local, Method, Userbase};
use crate::config::Config;
use crate::observe::{Found, Key, Observer};
use crate::surroundings::{Lookup, Outside, User};
use crate::table::{LookupError, Service, TableId};

/// The user of a local delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A user of the system or of a table.
    User {
        /// The recipient: its home is the place of the mail.
        user: Arc<User>,
        /// Whose ids the delivery runs with: the action's `user`, or the recipient.
        runs_as: Arc<User>,
    },
    /// `userbase any`: delivered in the daemon's own name, there is no home.
    Own,
    /// There is no such user.
    Unknown,
    /// Ask again where waiting is allowed.
    Later,
    /// A look-up failed, or the action's `user` does not exist.
    Failed,
}

impl Config {
    /// The user that an action delivers to. Asked when a recipient is accepted and again when
    /// it is delivered to.
    pub fn account(&self, action: &Action, user: &str, outside: &dyn Outside) -> Account {
        match &action.method {
            Method::Local(local) => self.local_account(local, user, outside, &mut ()),
            Method::Relay(_) => Account::Unknown,
        }
    }

    pub(crate) fn local_account<O: Observer>(
        &self,
        local: &Local,
        name: &str,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Account {
        let account = self.asked_account(local, name, outside, observer);
        observer.account(name, &account);
        account
    }

    fn asked_account<O: Observer>(
        &self,
        local: &Local,
        name: &str,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Account {
        if name.is_empty() {
            return Account::Unknown;
        }
        let user = match local.userbase {
            Userbase::Any => return Account::Own,
            Userbase::System => match outside.user(name) {
                Lookup::Found(user) => user,
                Lookup::None => return Account::Unknown,
                Lookup::Later => return Account::Later,
                Lookup::Error => return Account::Failed,
            },
            Userbase::Table(table) => {
                match self.value(table, Service::UserInfo, name, outside, observer) {
                    Ok(Some(value)) => match parse(name, &value) {
                        Some(user) => Arc::new(user),
                        None => return Account::Failed,
                    },
                    Ok(None) => return Account::Unknown,
                    Err(LookupError::Later) => return Account::Later,
                    Err(_) => return Account::Failed,
                }
            }
        };
        let runs_as = match &local.user {
            None => Arc::clone(&user),
            Some(name) => match outside.user(name) {
                Lookup::Found(user) => user,
                Lookup::Later => return Account::Later,
                Lookup::None | Lookup::Error => return Account::Failed,
            },
        };
        Account::User { user, runs_as }
    }

    /// The value of a key of a table.
    pub(crate) fn value<O: Observer>(
        &self,
        table: TableId,
        service: Service,
        key: &str,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Result<Option<Cow<'_, str>>, LookupError> {
        let value = self.tables.get(table).value(service, key, outside);
        let answer = match &value {
            Ok(value) => Ok(value.as_deref().map_or(Found::Nothing, Found::Value)),
            Err(error) => Err(*error),
        };
        observer.looked_up(table, service, Key::Text(key), answer);
        value
    }
}

/// Reads `uid:gid:directory`; the directory may hold colons.
pub(crate) fn parse(name: &str, value: &str) -> Option<User> {
    let mut fields = value.splitn(3, ':');
    let mut id = || -> Option<u32> {
        let text = fields.next()?;
        text.bytes().all(|o| o.is_ascii_digit()).then(|| text.parse().ok())?
    };
    let (uid, gid) = (id()?, id()?);
    let home = fields.next().filter(|home| !home.is_empty())?;
    Some(User { name: name.into(), uid, gid, home: PathBuf::from(home) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_may_hold_colons() {
        let user = parse("joe", "1000:100:/home/j:o").unwrap();
        assert_eq!((user.uid, user.gid, user.home.to_str()), (1000, 100, Some("/home/j:o")));
        for bad in ["", "1", "1:2", "1:2:", "x:1:/", "-1:1:/", "99999999999:1:/", "+1:1:/"] {
            assert_eq!(parse("joe", bad), None, "{bad}");
        }
    }
}
