//! What happened, a line each, told when a seed has failed: acts of the world, what peers said and
//! heard, and the server's own log. Nothing is put into words while nobody asks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Once;

/// Lines that are kept: enough to see how it came to it, few enough to be read.
const KEPT: usize = 80;

/// What one run did.
#[derive(Default)]
pub struct Trace {
    /// The last of it.
    pub lines: VecDeque<String>,
    hash: DefaultHasher,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Runs something and gives the trace of it.
pub fn of<T>(run: impl FnOnce() -> T) -> (T, Trace) {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_logger(&Lines).expect("nobody else logs in this test");
        log::set_max_level(log::LevelFilter::Info);
    });
    TRACE.set(Some(Trace::default()));
    let result = run();
    (result, TRACE.take().unwrap_or_default())
}

/// Notes a line, if there is a trace.
pub fn note(line: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        let Some(trace) = trace else { return };
        let line = line();
        line.hash(&mut trace.hash);
        if trace.lines.len() == KEPT {
            trace.lines.pop_front();
        }
        trace.lines.push_back(line);
    });
}

impl Trace {
    /// Two runs with the same number did the same.
    pub fn number(&self) -> u64 {
        self.hash.finish()
    }
}

/// The server's log.
struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        TRACE.with_borrow(Option::is_some)
    }

    fn log(&self, record: &log::Record<'_>) {
        note(|| format!("    log: {}", record.args()));
    }

    fn flush(&self) {}
}
