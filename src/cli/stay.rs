//! `sync-to-remote` as a sidecar: what the loop is connected with, and the loop.

use super::args::SyncToRemote;
use super::frame::Frame;
use crate::admin::{AdminError, ControlSocket, Health, HealthRules, PidFile, Web, wishes};
use crate::config::{read_heartbeat, read_reporting};
use crate::contract::control::socket_paths;
use crate::cycle::Spacing;
use crate::fault::{Kind, Report};
use crate::push::Push;
use crate::runtime::{Stop, Tasks, limits};
use crate::sidecar::{Around, Reporter, Rhythm, run};
use crate::store::Heartbeat;
use crate::telemetry::Metrics;
use std::time::Duration;

/// Pushes until a signal comes.
pub async fn stay(push: Push<'_>, args: &SyncToRemote, frame: &Frame) -> Result<u8, Report> {
    let given = &args.sidecar;
    if push.dry_run {
        return Err(Report::new(Kind::Usage, "--dry-run shows one push: leave out --schedule and --fsnotify"));
    }
    let heartbeat = read_heartbeat(&frame.environment)?.map(Heartbeat::new);
    let stall = match given.health_stall {
        Duration::ZERO => Duration::ZERO,
        stall => stall.saturating_add(args.hooks.silence()),
    };
    let rules = HealthRules { failures: given.health_failures, ignore: given.health_ignore, stall };
    let (health, metrics) = (Health::new(rules), Metrics::new());
    let (wishes, wished) = wishes();
    // The servers answer until the last pass has ended.
    let served = Stop::new();
    let mut servers = Tasks::new("health and control");
    let paths = socket_paths(given.socket.as_deref(), args.common.state.state_dir.as_deref(), Some(&args.src));
    match ControlSocket::bind(&paths).await {
        Ok(socket) => {
            let (stop, health, metrics, wishes) = (served.clone(), health.clone(), metrics.clone(), wishes.clone());
            servers.spawn(async move { socket.serve(&stop, &health, &metrics, &wishes).await });
        }
        Err(error @ AdminError::NoPlace { .. }) => tracing::warn!("hooks and probes cannot reach this sidecar: {error}"),
        Err(error) => return Err(error.into()),
    }
    if let Some(address) = given.health_addr {
        let web = Web::bind(address).await?;
        tracing::info!(address = %web.address()?, "answering probes");
        let (stop, health, metrics) = (served.clone(), health.clone(), metrics.clone());
        servers.spawn(async move { web.serve(&stop, &health, &metrics).await });
    }
    let (pid_path, is_asked_for) = given.pid_file();
    let pid_file = match PidFile::create(&pid_path) {
        Err(error) if is_asked_for => return Err(error.into()),
        created => created.ok(),
    };
    let rhythm = rhythm(args);
    // What the injector wrote is never a reason not to push.
    let reporting = read_reporting(&frame.environment).unwrap_or_else(|error| {
        tracing::warn!("nothing is reported to the controller: {error}");
        None
    });
    let reporter = reporting.map(|(controller, sync)| Reporter::new(controller, sync, args.dst.clone()));
    let around = Around { signals: frame.signals.clone(), wishes: wished, health, metrics, heartbeat, reporter };
    let ended = run(push, &rhythm, around).await;
    served.ask();
    while servers.next().await.is_some() {}
    drop(pid_file);
    Ok(ended?)
}

fn rhythm(args: &SyncToRemote) -> Rhythm {
    let given = &args.sidecar;
    Rhythm {
        schedule: given.schedule.clone(),
        jitter: given.jitter,
        watch: given.fsnotify.is_some(),
        spacing: Spacing {
            debounce: given.debounce,
            interval: given.fsnotify.unwrap_or(Duration::ZERO),
            reconcile: (!given.reconcile.is_zero()).then_some(given.reconcile),
            poll: given.poll.max(limits::POLL_LEAST),
        },
        grace: given.grace,
        termination_log: given.termination_log.clone(),
    }
}
