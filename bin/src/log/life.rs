//! Lines about the daemon as a whole.

use log::info;

use crate::VERSION;
use crate::control::System;

/// The first line of the log.
pub fn starting() {
    info!("info: {VERSION} starting");
}

/// The last line of the log, when the daemon ends in order.
pub fn exiting() {
    info!("Exiting");
}

/// An administrator stopped a part of the work.
pub fn paused(system: System) {
    info!("info: {system} paused");
}

/// The work goes on.
pub fn resumed(system: System) {
    info!("info: {system} resumed");
}
