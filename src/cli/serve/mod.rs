//! `serve`: the controller beside the Pods of a cluster.

mod options;

use super::Verdict;
use super::args::Serve;
use super::frame::Frame;
use crate::operator::serve::{connect, run};

/// Answers the API server until a signal comes.
pub async fn serve(args: &Serve, frame: &Frame) -> Verdict {
    let settings = options::read(args)?;
    let client = connect().await?;
    // A Pod's host name is its name.
    let pod = frame.environment.get("POD_NAME").or(frame.environment.get("HOSTNAME")).unwrap_or("volume-syncing-controller");
    run(client, settings, pod, &frame.stop).await?;
    Ok(0)
}
