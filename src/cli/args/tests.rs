use super::{CheckLevel, Cli, Command, Compression, Key, Owners, RemoteToLocalSync, SyncToRemote, TakeoverHow};
use crate::cli::control::args::Check;
use crate::config::At;
use clap::{CommandFactory, Parser};
use std::path::Path;
use std::time::Duration;

const PID_FILE: &str = "volume-syncing-controller.pid";

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(["volume-syncing-controller"].into_iter().chain(line.split_whitespace())).map(|cli| cli.command)
}

fn push(flags: &str) -> SyncToRemote {
    match parse(&format!("sync-to-remote {flags}")).unwrap() {
        Command::SyncToRemote(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn restore(flags: &str) -> RemoteToLocalSync {
    match parse(&format!("remote-to-local-sync -d /data {flags}")).unwrap() {
        Command::RemoteToLocalSync(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_the_safe_ones() {
    let args = push("");
    assert_eq!((args.src.to_str(), args.dst.as_str()), (Some("./"), "/"));
    assert!(!args.no_delete && !args.force_even_if_remote_would_be_cleared && !args.dry_run && !args.reread);
    assert_eq!(args.common.takeover.how, TakeoverHow::Wait);
    assert_eq!((args.common.takeover.silence, args.common.takeover.timeout), (Duration::from_secs(20), Duration::from_secs(120)));
    assert_eq!(args.compression, Compression::Zstd);
    let args = restore("");
    assert!(!args.no_delete && !args.force_delete_local_dir && !args.adopt && !args.claim && args.allow_empty);
    assert_eq!((args.at, args.owners), (At::Head, Owners::Auto));
}

#[test]
fn booleans_take_every_form_of_the_predecessor() {
    for (flags, expected) in [
        ("-x", true),
        ("--no-delete", true),
        ("--no-delete=false", false),
        ("--no-delete=no", false),
        ("--no-delete=1", true),
        ("-x=N", false),
        ("-x=Y", true),
    ] {
        assert_eq!(push(flags).no_delete, expected, "{flags}");
        assert_eq!(restore(flags).no_delete, expected, "{flags}");
    }
    assert!(!restore("--allow-empty=false").allow_empty);
    assert!(restore("-n").force_delete_local_dir);
    assert!(push("-f").force_even_if_remote_would_be_cleared);
    assert!(push("--accept-rollback").common.state.accept_rollback);
    for (flags, verbose) in [("-xvf", true), ("-v=f", false), ("-v=T", true), ("--verbose=0", false), ("-v -v=False", false)] {
        assert_eq!(push(flags).common.verbose, verbose, "{flags}");
    }
    let message = parse("sync-to-remote --no-delete=perhaps").unwrap_err().to_string();
    assert!(message.contains("expected true or false (also 1/0, yes/no, y/n)"), "{message}");
}

#[test]
fn the_predecessors_command_lines_are_accepted() {
    let args =
        push("--src /var/www --dst /b/p --config-path /etc/rclone.conf --no-delete --verbose --no-template --pid-path=/run/p");
    assert!(args.common.verbose && args.no_delete);
    assert!(args.common.access.no_template && args.common.access.config_path.is_some());
    assert!(args.sidecar.pid_file().1 && !args.sidecar.stays());
    let args = restore("-s b/p -c /etc/rclone.conf -v=false -p type=s3 -p a=b,c -e remote=x");
    assert!(!args.common.verbose);
    assert_eq!(args.common.access.params, ["type=s3", "a=b,c"]);
    assert_eq!(args.common.access.enc_params, ["remote=x"]);
    assert!(!args.common.access.no_template && args.former.warning().is_none());
    assert!(restore("-s b/p --pid-path /run/p").former.warning().is_some());
    let help = Cli::command().find_subcommand_mut("sync-to-remote").unwrap().render_long_help().to_string();
    assert!(help.contains("--pid-path") && help.contains("--no-delete[=<BOOL>]"), "{help}");
}

#[test]
fn a_push_stays_with_a_schedule_or_a_watch() {
    let watched = |line: &str| push(line).sidecar.fsnotify;
    assert_eq!(watched("--fsnotify"), Some(Duration::ZERO));
    assert_eq!(watched("--fsnotify=10s"), Some(Duration::from_secs(10)));
    assert_eq!(watched("--fsnotify=5"), Some(Duration::from_secs(300)), "minutes, as maxOneSyncPerMinutes counts");
    assert_eq!(watched("-s ./"), None);
    assert!(push("--schedule=@hourly --fsnotify").sidecar.stays());
    assert_eq!(push("--grace=45").sidecar.grace, Duration::from_secs(45));
    let message = parse("sync-to-remote --schedule=often").unwrap_err().to_string();
    assert!(message.contains("expected '@every 5m'"), "{message}");
}

#[test]
fn durations_and_choices_are_checked() {
    let args = push("--takeover=force --takeover-silence 500ms --takeover-timeout 1h --compression none");
    assert_eq!((args.common.takeover.how, args.compression), (TakeoverHow::Force, Compression::None));
    assert_eq!(
        (args.common.takeover.silence, args.common.takeover.timeout),
        (Duration::from_millis(500), Duration::from_secs(3600))
    );
    assert_eq!(restore("--owners never").owners, Owners::Never);
    for (line, expected) in [
        ("sync-to-remote --takeover-silence 20", "a duration such as 500ms"),
        ("sync-to-remote --takeover-timeout soon", "a duration such as 500ms"),
        ("sync-to-remote --takeover=kill", "[possible values: wait, force]"),
        ("sync-to-remote --compression lz4", "[possible values: zstd, none]"),
        ("sync-to-remote --schedule @often", "expected '@every 5m'"),
        ("remote-to-local-sync", "--dst <DIR>"),
        ("remote-to-local-sync -d /d --owners always", "[possible values: auto, never]"),
        ("remote-to-local-sync -d /d --at yesterday", "expected latest, a number as listed by snapshots"),
        ("ls --at 2026-13-01", "expected latest"),
        ("check --level 3", "[possible values: quick, meta, data]"),
        ("key remove", "<SLOT>"),
        ("health --check=luck", "[possible values: sync, stall, ready, live]"),
        ("completions cobol", "[possible values: bash"),
        ("ls --log-level=loud", "expected trace, debug, info, warn or error"),
        ("ls --log-json=loud", "expected true or false"),
    ] {
        let message = parse(line).unwrap_err().to_string();
        assert!(message.contains(expected), "{line}: {message}");
        assert_eq!(parse(line).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn every_verb_is_reachable() {
    assert!(matches!(parse("snapshots -s b/p --json").unwrap(), Command::Snapshots(args) if args.json));
    assert!(matches!(parse("ls -l --at #7 etc").unwrap(), Command::Ls(args) if args.long && args.at == At::Sequence(7)));
    for (word, level) in [("0", CheckLevel::Quick), ("1", CheckLevel::Meta), ("data", CheckLevel::Data)] {
        assert!(matches!(parse(&format!("check --level {word}")).unwrap(), Command::Check(args) if args.level == level));
    }
    assert!(matches!(parse("check").unwrap(), Command::Check(args) if args.level == CheckLevel::Meta));
    assert!(matches!(parse("doctor -d b/p -s /data").unwrap(), Command::Doctor(args) if args.src.is_some()));
    assert!(matches!(parse("health").unwrap(), Command::Health(args) if args.check == Check::Sync));
    assert!(matches!(parse("health --check=stall").unwrap(), Command::Health(args) if args.check == Check::Stall));
    assert!(matches!(parse("interrupt").unwrap(), Command::Interrupt(args) if !args.wait && args.pid_path.ends_with(PID_FILE)));
    let line = "interrupt --wait -p /run/p --socket /s --state-dir /d -s /data";
    assert!(matches!(parse(line).unwrap(), Command::Interrupt(args) if args.wait && args.socket.paths() == [Path::new("/s")]));
    assert!(matches!(parse("key generate").unwrap(), Command::Key(Key::Generate)));
    assert!(matches!(parse("key add -d b --generate --label desk").unwrap(), Command::Key(Key::Add(args)) if args.generate));
    assert!(matches!(parse("key remove -d b 2").unwrap(), Command::Key(Key::Remove(args)) if args.slot == "2"));
    assert!(matches!(parse("key list -d b --json").unwrap(), Command::Key(Key::List(args)) if args.json));
    assert!(matches!(parse("key export-kit -d b").unwrap(), Command::Key(Key::ExportKit(args)) if args.dst == "b"));
    for word in ["completions", "completion"] {
        assert!(matches!(parse(&format!("{word} bash")).unwrap(), Command::Completions(_)));
    }
}

#[test]
fn every_option_has_a_help_text() {
    fn look(command: &clap::Command) {
        for arg in command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
            let help = arg.get_help().map(|help| help.to_string()).unwrap_or_default();
            assert!(help.len() > 8 || arg.get_id() == "shell", "{} {}: '{help}'", command.get_name(), arg.get_id());
        }
        command.get_subcommands().for_each(look);
    }
    look(&Cli::command());
}
