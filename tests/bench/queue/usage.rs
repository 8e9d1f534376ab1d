//! What a process and a folder use, as Linux tells it (proc(5)).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// A tick of the times in /proc/PID/stat: USER_HZ is 100 on every Linux of today.
pub const TICK: Duration = Duration::from_millis(10);

fn read(id: u32, name: &str) -> Result<String, String> {
    let path = format!("/proc/{id}/{name}");
    fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}

/// User and system time of a process so far.
pub fn cpu(id: u32) -> Result<Duration, String> {
    let text = read(id, "stat")?;
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<u32> = rest.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    match fields[..] {
        [user, system] => Ok(TICK * (user + system)),
        _ => Err(format!("/proc/{id}/stat: no times")),
    }
}

/// Octets that a process has sent to a disk.
pub fn written(id: u32) -> Result<u64, String> {
    field(&read(id, "io")?, "write_bytes:").ok_or_else(|| "no write_bytes".to_owned())
}

/// Octets that the device of a directory was given since the machine's start, by anybody; `None`
/// when it does not say.
pub fn written_to_device(dir: &Path) -> Option<u64> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// Octets of memory that are resident, and the most that were.
pub fn memory(id: u32) -> Result<(u64, u64), String> {
    let text = read(id, "status")?;
    match (field(&text, "VmRSS:"), field(&text, "VmHWM:")) {
        (Some(now), Some(most)) => Ok((now << 10, most << 10)),
        _ => Err("no VmRSS".to_owned()),
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Octets of disk that a folder takes. What comes and goes meanwhile may be counted or not.
pub fn disk(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| {
        let Ok(data) = entry.metadata() else { return 0 };
        if data.is_dir() { disk(&entry.path()) } else { data.blocks() * 512 }
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let id = std::process::id();
        let (now, most) = memory(id).unwrap();
        assert!(now > 0 && most >= now);
        assert!(cpu(id).is_ok() && written(id).is_ok());
        assert!(disk(Path::new(env!("CARGO_MANIFEST_DIR"))) > 0);
    }
}
