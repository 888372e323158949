use super::super::error::Act;
use super::*;
use crate::contract::remotes::remote_type;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// What a server says to a command on a connection, which are counted from 0. The greeting is its answer to no command.
type Answer = dyn Fn(usize, &str) -> String + Send + Sync;

/// A server without files: what it is asked besides the log-in is answered by `answer`.
fn server(answer: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Ftp {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    let answer: Arc<Answer> = Arc::new(answer);
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().flatten().enumerate() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut out = socket.try_clone().expect("a second handle");
                let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).is_ok();
                say(&answer(number, ""));
                for line in BufReader::new(socket).lines().map_while(Result::ok) {
                    let is_heard = match line.split(' ').next().unwrap_or_default() {
                        "USER" => say("331 and the password?"),
                        "PASS" => say("230 welcome"),
                        "TYPE" => say("200 bytes"),
                        _ => say(&answer(number, &line)),
                    };
                    if !is_heard {
                        break;
                    }
                }
            });
        }
    });
    let options = [("host", address), ("user", "me".into()), ("pass", "made-up-password".into())];
    let options = options.into_iter().map(|(name, value)| (name, Secret::new(value))).collect::<BTreeMap<_, _>>();
    let kind = remote_type("ftp").expect("a type");
    let (container, prefix) = (String::new(), String::new());
    let config = ServedConfig { kind, container, prefix, is_absolute: false, options, secret_files: None, bandwidth: None };
    let patience = Patience { silence: Duration::from_secs(5), attempt: Duration::from_secs(5) };
    Ftp::open(&config, patience).expect("a remote")
}

fn greeting(command: &str) -> Option<String> {
    command.is_empty().then(|| "220 hello".into())
}

fn told(facts: &str) -> String {
    format!("250-this is known\r\n {facts}; x\r\n250 and no more")
}

fn asked(act: Act) -> Asked {
    Asked { act, key: "x".into(), place: "ftp".into() }
}

#[test]
fn a_name_is_whatever_follows_the_facts() {
    for (line, name) in [
        ("type=file;size=3;modify=20260101000000; plain", "plain"),
        ("type=file;size=3; notes;draft.txt", "notes;draft.txt"),
        ("type=file;size=3;   x ", "  x "),
        ("Type=file;Size=3; a type=cdir;b", "a type=cdir;b"),
        ("type=file;size=3; size=7;x", "size=7;x"),
    ] {
        let Some(Line::Child(found)) = machine_line(line) else { panic!("a child: {line}") };
        assert_eq!((found.name.as_str(), found.size, found.is_folder), (name, 3, false), "{line}");
    }
    for line in ["type=cdir;modify=20260101000000; .", "Type=PDIR; /above"] {
        assert!(matches!(machine_line(line), Some(Line::NoChild)), "{line}");
    }
    for line in ["type=file;size=3;", "type=file; ", "type=odd; x", "", "type=file;size=x; x"] {
        assert!(machine_line(line).is_none(), "{line}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_no_absence() {
    let ftp = server(|_, command| greeting(command).unwrap_or_else(|| told("type=odd;size=3")));
    let error = ftp.size(&asked(Act::Head)).await.expect_err("no answer");
    assert!(error.is_temporary() && error.to_string().contains("the answer cannot be read"), "{error}");
    let ftp = server(|_, command| greeting(command).unwrap_or_else(|| told("type=file;size=3")));
    assert_eq!(ftp.size(&asked(Act::Head)).await.expect("a file"), Some(3));
}

/// A server tells one connection after the other that it was idle for too long; or it went away meanwhile.
#[tokio::test]
async fn connections_that_a_server_ended_cost_one_try_together() {
    // One that is read on answers all it is asked so.
    for farewell in ["421 you were idle for too long", "nonsense"] {
        let (together, is_over) = (std::sync::Barrier::new(3), std::sync::atomic::AtomicBool::new(false));
        let is_over = Arc::new(is_over);
        let heard = Arc::clone(&is_over);
        let ftp = server(move |number, command| match greeting(command) {
            Some(greeting) => greeting,
            None if number < 3 && heard.load(std::sync::atomic::Ordering::SeqCst) => farewell.into(),
            None => {
                if number < 3 {
                    together.wait();
                }
                told("type=file;size=3")
            }
        });
        let asked = asked(Act::Head);
        let (one, two, three) = futures::join!(ftp.size(&asked), ftp.size(&asked), ftp.size(&asked));
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        let error = ftp.size(&asked).await.expect_err("the connection is over");
        assert!(error.is_temporary(), "{error}");
        assert_eq!(ftp.size(&asked).await.expect("by a new connection"), Some(3), "after {farewell}");
    }
}

/// What a refusal leaves is a connection that goes on.
#[tokio::test]
async fn a_refusal_costs_no_connection() {
    let ftp = server(|number, command| match (number, command.split(' ').next()) {
        (0, Some("")) => "220 hello".into(),
        (0, Some("MLST")) => "550 nobody knows".into(),
        (0, Some("DELE")) => "250 gone".into(),
        _ => "500 another connection".into(),
    });
    let path = ftp.path("x");
    let refused = ftp.run(&asked(Act::Head), 0, async |ftp| ftp.mlst(Some(&path)).await).await;
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    ftp.delete(&asked(Act::Delete)).await.expect("by the same connection");
}

/// A server keeps the place at which a transfer is to begin until there is one.
#[tokio::test]
async fn no_transfer_begins_where_a_refused_one_was_to_begin() {
    let ftp = server(|number, command| match command.split(' ').next() {
        Some("") => "220 hello".into(),
        Some("MLST") => told(&format!("type=file;size=1{number}")),
        Some("REST") => "350 from there".into(),
        _ => "425 not now".into(),
    });
    for (range, next) in [(0..10, 10), (4..10, 11)] {
        let error = ftp.get(&asked(Act::Get), Some(&range)).await.expect_err("refused");
        assert!(error.is_temporary(), "{error}");
        assert_eq!(ftp.size(&asked(Act::Head)).await.expect("a file"), Some(next), "by which connection, after {range:?}");
    }
}

#[tokio::test]
async fn a_server_with_too_many_connections_asks_for_patience() {
    let ftp = server(|_, _| "421 there are too many of you".into());
    let error = ftp.size(&asked(Act::Head)).await.expect_err("no connection");
    assert!(error.is_temporary() && error.is_busy(), "{error}");
}

#[tokio::test]
async fn no_more_is_read_than_memory_is_meant_for() {
    let size = super::super::http::ANSWER_BYTES + 1;
    let ftp = server(move |_, command| greeting(command).unwrap_or_else(|| told(&format!("type=file;size={size}"))));
    let error = ftp.get(&asked(Act::Get), None).await.expect_err("too much");
    assert!(!error.is_temporary() && error.to_string().contains("the answer is longer than"), "{error}");
}
