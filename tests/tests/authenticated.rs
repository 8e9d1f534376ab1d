//! AUTH, by the real program: every mechanism and kind of user, what who has logged in may do, and
//! that no secret is in the log.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtpd::password::scram::{KEY, Stored, digest, hmac};
use smtpd_tests::authority::Authority;
use smtpd_tests::client::{Client, Secured};
use smtpd_tests::namespace::{inside, mount};
use smtpd_tests::program::{Options, Server, TempDir};

const PASSWORD: &str = "correct horse";
/// Of that password, made by libcrypt.
const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";
const SHA512: &str = "$6$rounds=1000$saltstring$YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.";

/// A server that takes mail for anywhere from those who log in, with the users of `auth`.
struct Site {
    server: Server,
    authority: Authority,
}

impl Site {
    fn new(dir: &Path, user: &str, tables: &str, auth: &str) -> Site {
        let authority = Authority::new();
        let _ = authority.write(dir, "mx.example");
        let text = format!(
            "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user {user}\n\
             pki mx.example cert $dir/mx.example.crt key $dir/mx.example.key\n{tables}\n\
             listen on 127.0.0.1 port $port hostname mx.example tls-require pki mx.example \
             received-auth {auth}\n\
             action \"in\" maildir $dir/mail/%{{dest.user:lowercase}} userbase any\n\
             match auth from any for any action \"in\"\nmatch from any reject\n",
        );
        let config = dir.join("smtpd.conf");
        fs::write(&config, text).expect("a configuration");
        let server = Server::start(Options {
            config: Some(config),
            dir: Some(dir.to_owned()),
            arguments: ["-v", "-T", "smtp", "-T", "lookup"].map(str::to_owned).to_vec(),
            ..Options::default()
        });
        Site { server, authority }
    }

    /// A session under TLS, greeted, and the reply to EHLO.
    fn session(&self) -> (Client<Secured>, String) {
        let client = self.server.connect();
        let mut client = client.start_tls(&self.authority.client(None), "mx.example").expect("TLS");
        let offered = client.expect("EHLO client.example", "250");
        (client, offered)
    }

    /// The reply to PLAIN.
    fn plain(&self, user: &str, password: &str) -> String {
        self.session().0.command(&plain(user, password))
    }
}

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))
}

/// The last reply of an exchange of SCRAM; `binding` for SCRAM-SHA-256-PLUS.
fn scram(
    client: &mut Client<Secured>,
    user: &str,
    password: &str,
    binding: Option<&[u8]>,
) -> String {
    let (mechanism, gs2) = match binding {
        None => ("SCRAM-SHA-256", "n,,"),
        Some(_) => ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,"),
    };
    let bare = format!("n={user},r=rOprNGfwEbeRWgbNEkqO");
    let first = STANDARD.encode(format!("{gs2}{bare}"));
    let challenge = client.expect(&format!("AUTH {mechanism} {first}"), "334 ");
    let challenge = STANDARD.decode(&challenge[4..]).expect("base64");
    let challenge = String::from_utf8(challenge).expect("a message");
    let fields: Vec<&str> = challenge.split(',').map(|field| &field[2..]).collect();
    let salt = STANDARD.decode(fields[1]).expect("a salt");
    let mut salted = [0; KEY];
    let iterations = fields[2].parse().expect("a number");
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password.as_bytes(), &salt, iterations, &mut salted);
    let client_key = hmac(&salted, b"Client Key");
    let bound = STANDARD.encode([gs2.as_bytes(), binding.unwrap_or_default()].concat());
    let last = format!("c={bound},r={}", fields[0]);
    let signed = format!("{bare},{challenge},{last}");
    let mut proof = hmac(&digest(&client_key), signed.as_bytes());
    proof.iter_mut().zip(client_key).for_each(|(proof, key)| *proof ^= key);
    let last = format!("{last},p={}", STANDARD.encode(proof));
    let reply = client.command(&STANDARD.encode(last));
    let Some(signature) = reply.strip_prefix("334 ") else { return reply };
    // The server shows that it knows us.
    let server_key = hmac(&salted, b"Server Key");
    let right = format!("v={}", STANDARD.encode(hmac(&server_key, signed.as_bytes())));
    assert_eq!(STANDARD.decode(signature).expect("base64"), right.into_bytes());
    client.command("")
}

/// The channel binding as the client computes it (RFC 9266).
fn binding(client: &Client<Secured>) -> [u8; 32] {
    let label = b"EXPORTER-Channel-Binding";
    client.connection().export_keying_material([0; 32], label, None).expect("TLS 1.3")
}

#[test]
fn every_mechanism_takes_the_right_password_only_and_the_log_has_none() {
    let dir = TempDir::new();
    let entry = Stored::new(PASSWORD.as_bytes(), b"salt of sue", 4096).to_text();
    fs::write(dir.path().join("users"), format!("sue {entry}\njoe@a.example {entry}\n"))
        .expect("a table");
    let table = format!("table users file:{}/users", dir.path().display());
    let site = Site::new(dir.path(), "root", &table, "auth <users>");
    // Not in the clear, on 127.0.0.1 either.
    let mut client = site.server.connect();
    assert!(!client.expect("EHLO client.example", "250").contains("AUTH"));
    client.expect(&plain("sue", PASSWORD), "503");
    let (mut client, offered) = site.session();
    let mechanisms = "\n250-AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\n";
    assert!(offered.contains(mechanisms), "{offered}");
    client.expect("MAIL FROM:<sue@a.example>", "530 5.5.1");
    let begun = Instant::now();
    client.expect(&plain("sue", "wrong horse"), "535 5.7.8");
    assert!(begun.elapsed() >= Duration::from_millis(500), "a wrong password is slow");
    client.expect(&plain("nobody", "other horse"), "535 5.7.8");
    client.expect("AUTH LOGIN", "334 VXNlcm5hbWU6");
    client.expect(&STANDARD.encode("sue"), "334 UGFzc3dvcmQ6");
    client.expect(&STANDARD.encode(PASSWORD), "235 2.0.0");
    let reply = client.message("sue@a.example", "ann@b.example", b"Subject: x\r\n\r\ntext\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    let mail = site.server.wait_for_mail("ann", 1).remove(0);
    let mail = fs::read_to_string(mail).expect("the message");
    assert!(
        mail.contains(" with ESMTPSA id ") && mail.contains(" auth=yes user=sue (group "),
        "{mail}"
    );
    assert!(site.plain("joe@a.example", PASSWORD).starts_with("235 "));

    assert!(scram(&mut site.session().0, "sue", PASSWORD, None).starts_with("235 "));
    let mut client = site.session().0;
    let ours = binding(&client);
    assert!(scram(&mut client, "sue", PASSWORD, Some(&ours)).starts_with("235 "));
    let (mut other, _) = site.session();
    assert!(scram(&mut other, "sue", PASSWORD, Some(&ours)).starts_with("535 "), "another channel");
    assert!(scram(&mut other, "sue", "wrong horse", None).starts_with("535 "));

    for line in ["sue result=ok", "sue result=permfail", "nobody result=permfail"] {
        site.server.wait_for_log(&format!(" smtp authentication user={line}"));
    }
    let failed = " smtp failed-command command=\"AUTH PLAIN (...)\" result=\"535 5.7.8 ";
    site.server.wait_for_log(failed);
    let log = site.server.log().join("\n");
    assert!(log.contains("<<< AUTH LOGIN (password)"), "it is traced: {log}");
    for secret in ["horse", &STANDARD.encode(PASSWORD), "AHN1ZQ", &entry[..20], "cj1yT3By", "Yz1i"]
    {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn tables_in_the_configuration_have_hashes_of_every_kind() {
    let dir = TempDir::new();
    let tables = format!("table users {{ joe = \"{BCRYPT}\", ann = \"ann:{SHA512}\" }}");
    let site = Site::new(dir.path(), "root", &tables, "auth-optional <users>");
    let (_, offered) = site.session();
    assert!(offered.contains("\n250-AUTH PLAIN LOGIN\n"), "{offered}");
    assert!(site.plain("joe", PASSWORD).starts_with("235 "));
    assert!(site.plain("ann", PASSWORD).starts_with("235 "));
    assert!(site.plain("ann", BCRYPT).starts_with("535 "));
    // Without it nothing is taken for elsewhere, and sessions that guess do not go on for ever.
    let (mut client, _) = site.session();
    client.expect("MAIL FROM:<x@a.example>", "250");
    client.expect("RCPT TO:<ann@b.example>", "550");
}

/// Judges logins by itself, and writes down what it was asked.
const PROGRAM: &str = r#"#!/bin/sh
while IFS= read -r line; do
	case $line in
	"config|ready") echo "register|auth"; echo "register|ready" ;;
	table\|*)
		IFS='|' read -r _ _ _ _ operation service id key <<-END
			$line
		END
		echo "$operation $service" >> "$1"
		case $key in
		"Joe:pa|ss Word") echo "check-result|$id|found" ;;
		broken:*) echo "check-result|$id|error|no disk" ;;
		*) echo "check-result|$id|not-found" ;;
		esac ;;
	esac
done
"#;

#[test]
fn a_table_process_judges_logins() {
    let dir = TempDir::new();
    let script = dir.path().join("table.sh");
    fs::write(&script, PROGRAM).expect("a program");
    let asked = dir.path().join("asked");
    let table = format!("table users \"proc-exec:sh {} {}\"", script.display(), asked.display());
    let site = Site::new(dir.path(), "root", &table, "auth <users>");
    assert!(site.plain("Joe", "pa|ss Word").starts_with("235 "));
    assert!(site.plain("Joe", "pa|ss word").starts_with("535 "));
    assert!(site.plain("joe", "pa|ss Word").starts_with("535 "));
    assert!(site.plain("broken", "x").starts_with("454 4.7.0"));
    site.server.wait_for_log(" smtp authentication user=broken result=tempfail");
    let asked = fs::read_to_string(asked).expect("it was asked");
    assert_eq!(asked, "check auth\n".repeat(4));
    assert!(!site.server.log().join("\n").contains("ss Word"));
}

#[test]
fn system_users_are_known_to_a_daemon_that_is_not_root_any_more() {
    let Some(dir) = inside("system_users_are_known_to_a_daemon_that_is_not_root_any_more") else {
        return;
    };
    let users = "joe:x:4711:65534::/:/bin/false\nold:x:4712:65534::/:/bin/false\n\
                 locked:x:4713:65534::/:/bin/false\n";
    let passwords = format!(
        "joe:{SHA512}:19000:0:99999:7:::\nold:{SHA512}:19000:0:99999:7::19000:\n\
         locked:!{SHA512}:19000:0:99999:7:::\n"
    );
    for (file, text) in [("/etc/passwd", users), ("/etc/shadow", &passwords)] {
        let own = dir.join(file.rsplit('/').next().expect("a name"));
        let system = fs::read_to_string(file).expect("users of the system");
        fs::write(&own, format!("{system}{text}")).expect("written");
        mount(&own, file);
    }
    let site = Site::new(&dir, "nobody", "", "auth");
    let of = |field: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", site.server.id()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with(field)).expect(field);
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    assert_ne!(of("Uid:").as_deref(), Some("0"));
    assert!(site.plain("joe", PASSWORD).starts_with("235 "));
    // At once, as each reply waits longer than the one before.
    std::thread::scope(|scope| {
        for (user, password) in
            [("joe", "wrong"), ("not there", PASSWORD), ("old", PASSWORD), ("locked", PASSWORD)]
        {
            let site = &site;
            scope.spawn(move || {
                let reply = site.plain(user, password);
                assert!(reply.starts_with("535 "), "{user}: {reply}");
            });
        }
    });
    assert!(site.plain("joe", PASSWORD).starts_with("235 "));
}
