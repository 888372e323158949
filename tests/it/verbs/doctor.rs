//! `doctor`: what it says of stores and volumes that lack something.

use super::{Machine, Ran};
use crate::s3::{ACCESS_KEY, BUCKET, Fault, S3, SECRET_KEY, Seen, Verb};

fn doctor(machine: &Machine, s3: &S3) -> Ran {
    let endpoint = s3.endpoint();
    let key = machine.run("key generate", &[]).out;
    let variables = [
        ("REMOTE_TYPE", "s3"),
        ("REMOTE_ENDPOINT", endpoint.as_str()),
        ("REMOTE_ACCESS_KEY_ID", ACCESS_KEY),
        ("REMOTE_SECRET_ACCESS_KEY", SECRET_KEY),
        ("ENCRYPTED_PASSWORD", key.trim()),
    ];
    let mut command = machine.command(&format!("doctor -d {BUCKET}/some/path"), &variables);
    Ran::of(command.env_remove("REMOTE_ROOT").output().expect("the program runs"))
}

fn denied(verb: Verb) -> impl FnMut(&Seen) -> Fault + Send + 'static {
    move |seen| if seen.verb == verb { Fault::Status(403, "AccessDenied") } else { Fault::None }
}

/// The line that begins so.
fn line<'a>(ran: &'a Ran, start: &str) -> &'a str {
    let found = ran.out.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line '{start}' in: {}{}", ran.out, ran.err))
}

#[test]
fn a_healthy_store_is_told_from_one_that_lacks_rights() {
    let (machine, s3) = (Machine::new(), S3::start());
    let ran = doctor(&machine, &s3);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for start in ["✓ reach", "✓ s3:ListBucket", "✓ s3:GetObject", "✓ s3:PutObject", "✓ s3:DeleteObject", "all is well"]
    {
        line(&ran, start);
    }
    assert!(line(&ran, "✓ conditional create").contains("honoured"));
    assert!(line(&ran, "✓ vault").contains("nothing lies there yet"));
    assert!(!ran.out.contains(SECRET_KEY), "{}", ran.out);
    assert_eq!(s3.objects(), [""; 0], "what was tried is taken away");

    s3.faults(denied(Verb::Delete));
    let ran = doctor(&machine, &s3);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(line(&ran, "– s3:DeleteObject").contains("denied. Pushes and restores work without it"));

    for (verb, start) in [(Verb::Put, "✗ s3:PutObject"), (Verb::List, "✗ s3:ListBucket"), (Verb::Get, "✗ s3:GetObject")] {
        s3.faults(denied(verb));
        let ran = doctor(&machine, &s3);
        assert_eq!(ran.code, 4, "{verb:?}: {}", ran.out);
        line(&ran, start);
        assert!(ran.out.contains(&format!("the missing right is {}", &start["✗ ".len()..])), "{}", ran.out);
    }
}

#[test]
fn a_store_without_conditional_creates_is_named() {
    let (machine, s3) = (Machine::new(), S3::start());
    s3.faults(|seen| if seen.conditional { Fault::IgnoreCondition } else { Fault::None });
    let ran = doctor(&machine, &s3);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(line(&ran, "– conditional create").contains("not honoured"));
}

#[test]
fn a_clock_that_is_wrong_is_named() {
    let (machine, s3) = (Machine::new(), S3::start());
    s3.faults(|_| Fault::Status(403, "RequestTimeTooSkewed"));
    let ran = doctor(&machine, &s3);
    assert_eq!(ran.code, 4, "{}", ran.out);
    assert!(ran.out.contains("set the clock"), "{}", ran.out);
}

#[test]
fn vault_volume_and_memory_of_both_are_looked_at() {
    let machine = Machine::new();
    let key = machine.run("key generate", &[]).out.trim().to_string();
    let volume = machine.home.path().join("volume");
    std::fs::create_dir(&volume).expect("a directory");
    std::fs::write(volume.join("a"), "x").expect("a file");
    let line_of = format!("doctor -d v -s {}", volume.display());
    let fresh = machine.run(&line_of, &[("ENCRYPTED_PASSWORD", &key)]);
    assert_eq!(fresh.code, 0, "{}{}", fresh.out, fresh.err);
    line(&fresh, "– state");
    assert!(!volume.join(".vsc").exists(), "nothing is made on the volume");

    machine.ok(&format!("sync-to-remote -d v -s {}", volume.display()), &key);
    let ran = machine.run(&line_of, &[("ENCRYPTED_PASSWORD", &key)]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(line(&ran, "✓ vault").contains("opened by slot r"));
    assert!(line(&ran, "– keys").contains("export-kit"));
    assert!(line(&ran, "✓ receipt").contains("the newest"));
    line(&ran, "✓ newest commit");
    line(&ran, "✓ space");

    let other = machine.run("key generate", &[]).out;
    let ran = machine.run(&line_of, &[("ENCRYPTED_PASSWORD", &other)]);
    assert_eq!(ran.code, 4, "{}", ran.out);
    assert!(line(&ran, "✗ vault").contains("wrong key"));
    let ran = machine.run("doctor -d v -s /nowhere/at/all", &[("ENCRYPTED_PASSWORD", &key)]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(line(&ran, "✗ volume").contains("does not exist"));
}
