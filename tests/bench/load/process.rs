//! What a server's processes use, read from /proc (Linux), and their syncs, counted by strace.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// One tick of the times in /proc/PID/stat: USER_HZ is 100 on every Linux of today (proc(5)).
const TICK: Duration = Duration::from_millis(10);
/// The calls that make something durable.
const SYNCS: &str = "fsync,fdatasync,sync_file_range,msync,syncfs,sync";

/// Processes and their descendants.
pub struct Family {
    roots: Vec<u32>,
}

impl Family {
    /// Those of these processes.
    pub fn of(roots: &[u32]) -> Family {
        Family { roots: roots.to_vec() }
    }

    /// Everyone who is alive now.
    fn members(&self) -> Vec<u32> {
        let all: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, Stat::of(pid)?.parent)))
            .collect();
        let mut members = self.roots.clone();
        let mut checked = 0;
        while let Some(parent) = members.get(checked).copied() {
            let children = all.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid);
            let children: Vec<u32> = children.filter(|pid| !members.contains(pid)).collect();
            members.extend(children);
            checked += 1;
        }
        members
    }

    /// User and system time so far, with that of children that have ended and were waited for.
    pub fn cpu(&self) -> Duration {
        self.members().into_iter().filter_map(Stat::of).map(|stat| stat.cpu).sum()
    }

    /// The proportional set size of all, in KiB; 0 when no process was named.
    pub fn pss(&self) -> Result<u64, String> {
        let mut total = 0;
        for pid in self.members() {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kib = pss.and_then(|value| value.trim().strip_suffix(" kB"));
            let kib: Option<u64> = kib.and_then(|kib| kib.parse().ok());
            total += kib.ok_or_else(|| format!("{path}: no Pss"))?;
        }
        Ok(total)
    }
}

/// What we need of /proc/PID/stat.
struct Stat {
    parent: u32,
    cpu: Duration,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in brackets may hold anything, so counting begins behind the last bracket: state,
    /// parent, and 10 fields later utime, stime, cutime, cstime (proc(5)).
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
        let ticks: Option<u32> =
            fields.get(11..15)?.iter().map(|field| field.parse::<u32>().ok()).sum();
        Some(Stat { parent: fields.get(1)?.parse().ok()?, cpu: TICK * ticks? })
    }
}

/// strace, counting the syncs of a family.
pub struct Tracer {
    child: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches to all members and comes back when it counts.
    pub fn attach(family: &Family) -> Result<Tracer, String> {
        let output = std::env::temp_dir().join(format!("smtp-load-{}.strace", std::process::id()));
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-e", &format!("trace={SYNCS}"), "-o"]).arg(&output);
        let members = family.members();
        for pid in &members {
            command.arg("-p").arg(pid.to_string());
        }
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("strace: {error}"))?;
        let stderr = child.stderr.take().ok_or("strace: no standard error")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut said = String::new();
        for _ in &members {
            match lines.next() {
                Some(line) if line.contains("attached") => {}
                line => {
                    said = line.unwrap_or_default();
                    break;
                }
            }
        }
        // It goes on telling of new threads: somebody must read that, or it stops.
        std::thread::spawn(move || lines.for_each(drop));
        let tracer = Tracer { child, output };
        if said.is_empty() { Ok(tracer) } else { Err(format!("strace: {said}")) }
    }

    /// Lets go; how often each call was made.
    pub fn detach(mut self) -> Result<BTreeMap<String, u64>, String> {
        self.interrupt();
        let text = fs::read_to_string(&self.output);
        text.map(|text| calls(&text)).map_err(|error| format!("{}: {error}", self.output.display()))
    }

    fn interrupt(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Tracer {
    /// A run that failed must not leave the server traced.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
        }
        let _ = fs::remove_file(&self.output);
    }
}

/// Reads the table of `strace -c`: percentage, seconds, microseconds, calls, perhaps errors, name.
fn calls(table: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, count, .., name] = words[..] else { continue };
        if let (Ok(count), true) = (count.parse::<u64>(), name != "total") {
            *calls.entry(name.to_owned()).or_default() += count;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let line = "7 (a ) b) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 7 3 20 0 1 0 99 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.cpu), (3, Duration::from_millis(2100)));
        assert!(Stat::parse("7 (cut off) S 3 7").is_none());
    }

    #[test]
    fn the_family_has_this_process_and_its_child() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let members = Family::of(&[std::process::id()]).members();
        let found = members.contains(&child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found && members[0] == std::process::id());
        assert!(Family::of(&[std::process::id()]).pss().unwrap() > 0);
    }

    #[test]
    fn the_table_of_strace_is_read() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.10    0.123456         100      1234           fdatasync
  0.90    0.001000          10        12         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.124456          99      1246         1 total
";
        let expected = [("fdatasync".to_owned(), 1234), ("fsync".to_owned(), 12)];
        assert_eq!(calls(table), BTreeMap::from(expected));
    }
}
