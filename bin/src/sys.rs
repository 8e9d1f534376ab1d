//! System calls that neither std nor rustix offers in a safe form: users, privileges, signals,
//! interfaces, local time, syslog, passwords.
//!
//! The only file of the project with `unsafe`; each block names the rule that makes it sound.
//! Nothing here knows about mail.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr;

/// An entry of the user database (passwd(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Login group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// Looks a login name up. May ask the network (NIS, LDAP): never call it on a reactor.
///
/// # Errors
/// The system's, when the database cannot be asked; a name that holds NUL is simply not there.
pub fn user_by_name(name: &str) -> io::Result<Option<User>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    // SAFETY: `name` is NUL-terminated and lives across the call; the other pointers are those
    // `passwd_entry` made, valid for the lengths given.
    passwd_entry(|pw, buf, len, res| unsafe { libc::getpwnam_r(name.as_ptr(), pw, buf, len, res) })
}

/// Looks a user id up, as [`user_by_name`].
///
/// # Errors
/// The system's, when the database cannot be asked.
pub fn user_by_id(uid: u32) -> io::Result<Option<User>> {
    // SAFETY: the pointers are those `passwd_entry` made, valid for the lengths given.
    passwd_entry(|pw, buf, len, res| unsafe { libc::getpwuid_r(uid, pw, buf, len, res) })
}

fn passwd_entry(
    ask: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> i32,
) -> io::Result<Option<User>> {
    let mut room = vec![0 as libc::c_char; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        let error = ask(entry.as_mut_ptr(), room.as_mut_ptr(), room.len(), &raw mut found);
        match error {
            0 if found.is_null() => return Ok(None),
            0 => {}
            libc::ERANGE if room.len() < 1 << 20 => {
                room.resize(room.len() * 2, 0);
                continue;
            }
            libc::EINTR => continue,
            // Some systems say "not found" in this way (getpwnam_r(3), ERRORS).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        // SAFETY: the call returned 0 with a non-null result, so it filled `entry`, whose strings
        // are NUL-terminated and lie in `room`, which lives to the end of this block.
        let (entry, name, home) = unsafe {
            let entry = entry.assume_init_ref();
            (entry, CStr::from_ptr(entry.pw_name), CStr::from_ptr(entry.pw_dir))
        };
        return Ok(Some(User {
            name: name.to_string_lossy().into_owned(),
            uid: entry.pw_uid,
            gid: entry.pw_gid,
            home: PathBuf::from(home.to_string_lossy().into_owned()),
        }));
    }
}

/// Becomes `user` for good: one supplementary group, then group, then user id. Call it while the
/// process has one thread.
///
/// # Errors
/// The system's; the process must then end, as it may hold half of its old rights.
pub fn become_user(user: &User) -> io::Result<()> {
    let groups = [user.gid];
    // SAFETY: the pointer is valid for the one element announced.
    check(unsafe { libc::setgroups(1, groups.as_ptr()) })?;
    // SAFETY: plain values; sets the real, effective and saved ids of a root process.
    check(unsafe { libc::setgid(user.gid) })?;
    // SAFETY: as above.
    check(unsafe { libc::setuid(user.uid) })?;
    Ok(())
}

/// Another user's rights for a root process, until the value is dropped. Call it while the process
/// has one thread.
#[derive(Debug)]
pub struct Assumed {
    gid: u32,
}

impl Assumed {
    /// Takes on the effective ids of `user`.
    ///
    /// # Errors
    /// The system's; the rights are then those of before.
    pub fn new(user: &User) -> io::Result<Assumed> {
        // SAFETY: reads an id.
        let assumed = Assumed { gid: unsafe { libc::getegid() } };
        // SAFETY: plain values; the group first, as that takes root's rights.
        check(unsafe { libc::setegid(user.gid) })?;
        // SAFETY: as above. An error drops `assumed`, which puts the group back.
        check(unsafe { libc::seteuid(user.uid) })?;
        Ok(assumed)
    }
}

impl Drop for Assumed {
    fn drop(&mut self) {
        // SAFETY: plain values; root is the process's real and saved user.
        let back = unsafe { libc::seteuid(0) == 0 && libc::setegid(self.gid) == 0 };
        assert!(back, "root's rights are the process's own and cannot be refused");
    }
}

/// Leaves the terminal and the caller: fork, new session, standard streams to /dev/null. The
/// working directory stays, as relative paths of the configuration are relative to it. Call it
/// while the process has one thread.
///
/// # Errors
/// The system's.
pub fn daemonise() -> io::Result<()> {
    // SAFETY: the process has one thread (the caller's duty), so the child of the fork inside
    // daemon(3) finds every lock free.
    #[allow(deprecated)] // the libc crate marks it so for one system that we do not build for
    check(unsafe { libc::daemon(1, 0) })
}

/// Leaves a process behind that does `work` and ends, while this one goes on: fork, new session,
/// standard streams to /dev/null, no core files. Each of the two has what is `carried`. Call it
/// while the process has one thread.
///
/// # Errors
/// The system's; then there is no other process.
pub fn leave_behind<T>(carried: T, work: impl FnOnce(T)) -> io::Result<T> {
    // SAFETY: the process has one thread (the caller's duty), so the child finds every lock free.
    let child = unsafe { libc::fork() };
    check(child)?;
    if child > 0 {
        return Ok(carried);
    }
    let done = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: takes no pointer. That we may lead a group already is no error of ours.
        unsafe { libc::setsid() };
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") else {
            return;
        };
        for stream in 0..3 {
            // SAFETY: both are numbers of descriptors; what the second was is closed, as wished.
            unsafe { libc::dup2(null.as_raw_fd(), stream) };
        }
        work(carried);
    }));
    // SAFETY: ends the process at once; nothing of the parent's is run or flushed twice.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

/// What is stored of a user's password (shadow(5)); none for a user who is not there, or whose
/// account is over. May ask the network, as [`user_by_name`].
///
/// # Errors
/// The system's, above all for a process that may not look.
#[cfg(target_os = "linux")]
pub fn shadow(name: &str) -> io::Result<Option<String>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut room = zeroize::Zeroizing::new(vec![0_u8; 4096]);
    let mut entry = MaybeUninit::<libc::spwd>::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: `name` is NUL-terminated, `entry` is room for one, `room` as long as it is said.
    let error = unsafe {
        let start = room.as_mut_ptr().cast();
        libc::getspnam_r(name.as_ptr(), entry.as_mut_ptr(), start, room.len(), &raw mut found)
    };
    match error {
        0 | libc::ENOENT if found.is_null() => return Ok(None),
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    // SAFETY: it was found, so `entry` is filled in, and its strings are NUL-terminated and within
    // `room`, which lives.
    let (hash, expires) = unsafe {
        let entry = entry.assume_init();
        if entry.sp_pwdp.is_null() {
            return Ok(None);
        }
        (CStr::from_ptr(entry.sp_pwdp).to_str().map(str::to_owned), entry.sp_expire)
    };
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let today = today.map_or(0, |time| time.as_secs() / 86_400);
    // A negative number is none.
    let is_over = u64::try_from(expires).is_ok_and(|day| today >= day);
    Ok(hash.ok().filter(|_| !is_over))
}

/// What is stored of a user's password: this system has no shadow(5).
///
/// # Errors
/// Always.
#[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
pub fn shadow(_: &str) -> io::Result<Option<String>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether this is the user's password, by the styles of login.conf(5) for the type `auth-smtp`.
///
/// # Errors
/// When the password cannot be given to a style.
#[cfg(target_os = "openbsd")]
pub fn bsd_auth(user: &str, password: &[u8]) -> io::Result<bool> {
    #[link(name = "c")]
    unsafe extern "C" {
        fn auth_userokay(
            name: *mut libc::c_char,
            style: *mut libc::c_char,
            kind: *mut libc::c_char,
            password: *mut libc::c_char,
        ) -> libc::c_int;
    }
    if user.contains(['\0', ':']) || password.contains(&0) {
        return Ok(false);
    }
    let terminated = |text: &[u8]| zeroize::Zeroizing::new([text, b"\0"].concat());
    let (mut user, mut password) = (terminated(user.as_bytes()), terminated(password));
    let mut kind = *b"auth-smtp\0";
    // SAFETY: all are NUL-terminated, live across the call, and may be written to; no style is
    // that of the user's class.
    let is_right = unsafe {
        auth_userokay(
            user.as_mut_ptr().cast(),
            ptr::null_mut(),
            kind.as_mut_ptr().cast(),
            password.as_mut_ptr().cast(),
        )
    };
    Ok(is_right != 0)
}

/// A signal that the daemon acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end in order.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The daemon's signals, blocked in this thread and all it starts from now on, so that
/// [`Signals::wait`] is the one place where they arrive.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGHUP. Call it before any thread is started.
    ///
    /// # Errors
    /// The system's.
    pub fn block() -> io::Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set it is given, the other calls change or read
        // an initialised set; the signal numbers are valid.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        };
        // SAFETY: `set` is initialised; a null old set is allowed.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } {
            0 => Ok(Signals(set)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits for the next of them.
    #[must_use]
    pub fn wait(&self) -> Signal {
        loop {
            let mut signal = 0;
            // SAFETY: the set is initialised and `signal` is a valid place for the answer.
            let error = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
            match (error, signal) {
                (0, libc::SIGHUP) => return Signal::Reload,
                (0, _) => return Signal::Stop,
                _ => {}
            }
        }
    }
}

/// Sends SIGTERM to this process, so that [`Signals::wait`] returns: how a thread ends the daemon.
pub fn ask_to_stop() {
    // SAFETY: plain values; the signal is blocked in all threads and fetched by sigwait.
    let _ = unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

/// The addresses of the local interfaces that are up, with the interface's name.
///
/// # Errors
/// The system's.
pub fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut head = ptr::null_mut();
    // SAFETY: `head` is a valid place for the list's head.
    check(unsafe { libc::getifaddrs(&raw mut head) })?;
    let mut found = Vec::new();
    let mut at = head;
    // SAFETY: getifaddrs gave a list ended by null, alive until freeifaddrs; `ifa_addr` may be
    // null and else points to an address whose family says which type it has.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        if entry.ifa_addr.is_null() || entry.ifa_flags & libc::IFF_UP as libc::c_uint == 0 {
            continue;
        }
        // SAFETY: see above; the name is NUL-terminated.
        let (family, name) =
            unsafe { ((*entry.ifa_addr).sa_family, CStr::from_ptr(entry.ifa_name)) };
        let address = match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: an AF_INET address is a sockaddr_in; read unaligned, as the list makes
                // no promise about it.
                let v4 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)))
            }
            libc::AF_INET6 => {
                // SAFETY: an AF_INET6 address is a sockaddr_in6; unaligned as above.
                let v6 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr))
            }
            _ => continue,
        };
        found.push((name.to_string_lossy().into_owned(), address));
    }
    // SAFETY: `head` came from getifaddrs and is freed once; nothing borrowed from it is left.
    unsafe { libc::freeifaddrs(head) };
    Ok(found)
}

/// The local time zone at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of Greenwich.
    pub offset: i32,
    /// Its name, such as CET; may be empty.
    pub name: String,
}

/// The zone (of TZ or /etc/localtime) at a time in seconds since 1970; UTC without a name for
/// times that the system cannot express.
#[must_use]
pub fn zone_at(seconds: i64) -> Zone {
    let clock: libc::time_t = seconds;
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid; a zeroed `tm` is a valid value (integers and a null
    // pointer), so it may be read whether the call filled it or not.
    let tm = unsafe {
        libc::localtime_r(&raw const clock, tm.as_mut_ptr());
        tm.assume_init()
    };
    let name = if tm.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: a non-null `tm_zone` points to a NUL-terminated name in static storage.
        unsafe { CStr::from_ptr(tm.tm_zone) }.to_string_lossy().into_owned()
    };
    Zone { offset: i32::try_from(tm.tm_gmtoff).unwrap_or(0), name }
}

/// Opens the connection to syslogd: facility mail, with the process id.
pub fn syslog_open(ident: &'static CStr) {
    // SAFETY: the ident is kept by the C library and lives for ever.
    unsafe { libc::openlog(ident.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY, libc::LOG_MAIL) };
}

/// Sends one line to syslogd. `priority` is one of the LOG_ levels of syslog(3).
pub fn syslog(priority: i32, line: &CStr) {
    // SAFETY: the format consumes exactly the one string given; `line` is NUL-terminated.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
}

/// The effective user id of the process that connected a Unix stream socket, as it was then.
///
/// # Errors
/// The system's.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// The effective user id of the process that connected a Unix stream socket, as it was then.
///
/// # Errors
/// The system's.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: the descriptor is open while `stream` is borrowed; both places are valid.
    check(unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) })?;
    Ok(uid)
}

/// Whether this is the password of the hash, by the system's crypt(3); none when the system has no
/// such thing, or does not know the scheme. Takes up to a second of the processor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn check_password(password: &CStr, hash: &CStr) -> Option<bool> {
    type CryptRa = unsafe extern "C" fn(
        *const libc::c_char,
        *const libc::c_char,
        *mut *mut libc::c_void,
        *mut libc::c_int,
    ) -> *mut libc::c_char;
    static FUNCTION: std::sync::OnceLock<Option<CryptRa>> = std::sync::OnceLock::new();
    let function = FUNCTION.get_or_init(|| {
        // SAFETY: the names are NUL-terminated. The library is never closed, so what is found in
        // it stays; its initialisers are those of a library of the system.
        let symbol = unsafe {
            let names = [c"libcrypt.so.1", c"libcrypt.so.2"];
            let mut opened = names.map(|name| libc::dlopen(name.as_ptr(), libc::RTLD_NOW));
            let library = opened.iter_mut().find(|library| !library.is_null())?;
            libc::dlsym(*library, c"crypt_ra".as_ptr())
        };
        // SAFETY: a function of this name has this type (crypt(3)); a null pointer, when there is
        // none, is `None` of an optional function.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<CryptRa>>(symbol) }
    });
    let function = (*function)?;
    let (mut room, mut size) = (ptr::null_mut::<libc::c_void>(), 0);
    // SAFETY: both strings are NUL-terminated and live across the call; `room` is null, so the
    // function makes its own room and tells where, and it keeps nothing else.
    let result =
        unsafe { function(password.as_ptr(), hash.as_ptr(), &raw mut room, &raw mut size) };
    let is_right = (!result.is_null()).then(|| {
        // SAFETY: not null, so it is a NUL-terminated string within `room`.
        let result = unsafe { CStr::from_ptr(result) }.to_bytes();
        // A token that begins with `*` is a failure, and never a hash.
        !result.starts_with(b"*") && equal(result, hash.to_bytes())
    });
    if !room.is_null() {
        // SAFETY: `room` was made by the function with malloc(3) and has `size` octets; nothing
        // refers to it any more. It held what the password was turned into.
        unsafe {
            ptr::write_bytes(room.cast::<u8>(), 0, usize::try_from(size).unwrap_or(0));
            libc::free(room);
        }
    }
    is_right
}

/// Whether this is the password of the hash, by the system's crypt(3), which knows bcrypt; none
/// when it is another scheme.
#[cfg(target_os = "openbsd")]
pub fn check_password(password: &CStr, hash: &CStr) -> Option<bool> {
    if !hash.to_bytes().starts_with(b"$2") {
        return None;
    }
    unsafe extern "C" {
        fn crypt_checkpass(password: *const libc::c_char, hash: *const libc::c_char)
        -> libc::c_int;
    }
    // SAFETY: both strings are NUL-terminated and live across the call.
    Some(unsafe { crypt_checkpass(password.as_ptr(), hash.as_ptr()) } == 0)
}

/// The system has nothing of the kind that can be called from threads.
#[cfg(not(any(all(target_os = "linux", target_env = "gnu"), target_os = "openbsd")))]
pub fn check_password(_: &CStr, _: &CStr) -> Option<bool> {
    None
}

/// Whether they are equal, in a time that does not tell where they differ.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_a_user_and_nobody_has_a_name_with_nul() {
        let root = user_by_name("root").unwrap().unwrap();
        assert_eq!((root.uid, root.name.as_str()), (0, "root"));
        assert_eq!(user_by_id(0).unwrap().unwrap().uid, 0);
        assert_eq!(user_by_name("a\0b").unwrap(), None);
        assert_eq!(user_by_name("no-such-user-here").unwrap(), None);
    }

    #[test]
    fn loopback_is_an_interface() {
        let found = interface_addresses().unwrap();
        assert!(found.iter().any(|(_, a)| a.is_loopback()), "{found:?}");
    }

    #[test]
    fn no_zone_is_further_away_than_fifteen_hours() {
        assert!(zone_at(0).offset.abs() <= 15 * 3600);
        assert_eq!(zone_at(i64::MAX).offset, 0);
    }
}
