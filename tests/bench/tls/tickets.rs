//! The tickets of one server, however many: rustls's own memory for them keeps eight.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// They are gathered first, and shown from the call of `show` on. A session of TLS 1.2 serves again
/// and again, a ticket of TLS 1.3 once.
#[derive(Debug, Default)]
pub struct Tickets {
    shown: AtomicBool,
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
}

impl Tickets {
    pub fn show(&self) {
        self.shown.store(true, Ordering::Relaxed);
    }

    fn if_shown<T>(&self, ticket: impl FnOnce() -> Option<T>) -> Option<T> {
        self.shown.load(Ordering::Relaxed).then(ticket).flatten()
    }
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *open(&self.tls12) = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.if_shown(|| open(&self.tls12).clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *open(&self.tls12) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        open(&self.tls13).push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.if_shown(|| open(&self.tls13).pop())
    }
}
