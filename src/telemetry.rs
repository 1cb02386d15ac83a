//! Logs, on standard error: for people, or one JSON object a line.
//!
//! Two rules hold whatever the filter says. Crates that log what goes over the wire (addresses in SMTP commands, headers
//! with keys, values in queries) are never heard below *info*. And crates that chatter are heard from *warn* on, unless the filter
//! names them.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::config::{Log, LogFormat};

/// Crates that see secrets and addresses go by.
const WIRE: &[&str] = &["h2", "hyper", "hyper_util", "lettre", "redis", "reqwest", "rustls", "sqlx", "tower_http"];

/// Crates that say more at *info* than anybody asked for.
const CHATTER: &str = "apalis=warn,apalis_core=warn,hyper=warn,sqlx=warn,tokio_cron_scheduler=warn";

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log.filter = {filter:?} is not a filter")]
    Filter {
        /// What was configured.
        filter: String,
        /// Why it is none.
        #[source]
        source: ParseError,
    },
    /// Something set up logging before.
    #[error("logging is set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sets up logging for this process, once.
///
/// # Errors
/// [`TelemetryError`] if the filter is not one, or logging is set up already.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let subscriber = subscriber(log, io::stderr, io::stderr().is_terminal())?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(log: &Log, writer: W, ansi: bool) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(format!("{CHATTER},{}", log.filter))
        .map_err(|source| TelemetryError::Filter { filter: log.filter.clone(), source })?;
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(ansi).boxed(),
        LogFormat::Json => fmt::layer().with_writer(writer).with_ansi(false).json().flatten_event(true).boxed(),
    };
    Ok(Registry::default().with(layer.with_filter(filter.and(filter_fn(may_be_heard)))))
}

/// Whether an event or span shows nothing that goes over the wire.
fn may_be_heard(metadata: &Metadata<'_>) -> bool {
    let krate = metadata.target().split("::").next().unwrap_or_default();
    !WIRE.contains(&krate) || LevelFilter::from_level(*metadata.level()) <= LevelFilter::INFO
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let log = Log { format, filter: filter.to_owned() };
        let subscriber = subscriber(&log, move || writer.clone(), false).expect("a valid filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(sweep = 7, "ours at info");
            tracing::trace!("ours at trace");
            tracing::info!(target: "tokio_cron_scheduler::job_scheduler", "chatter");
            tracing::debug!(target: "lettre::transport", "RCPT TO:<ann@example.org>");
            tracing::trace!(target: "hyper::proto", "x-api-key: ak_hunter2");
            tracing::warn!(target: "sqlx::query", "slow");
        });
        let bytes = sink.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn the_default_is_quiet_and_its_own() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.contains("ours at info") && text.contains("slow"), "{text}");
        assert!(!text.contains("chatter") && !text.contains("ours at trace"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours where no terminal is");
    }

    #[test]
    fn what_goes_over_the_wire_is_not_heard_at_any_level() {
        for filter in ["trace", "trace,lettre=trace,hyper=trace", "trace,lettre::transport=trace,hyper::proto=trace"] {
            let text = logged(LogFormat::Text, filter);
            assert!(!text.contains("example.org") && !text.contains("hunter2"), "{filter}: {text}");
        }
        assert!(logged(LogFormat::Text, "trace").contains("ours at trace"));
        assert!(logged(LogFormat::Text, "info,tokio_cron_scheduler=info").contains("chatter"), "named, it is heard");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, "info");
        let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(
            (&first["message"], &first["sweep"], &first["level"]),
            (&"ours at info".into(), &7.into(), &"INFO".into())
        );
        assert!(first["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let log = Log { format: LogFormat::Text, filter: "auditor=loud".into() };
        let error = subscriber(&log, io::sink, false).err().expect("it is refused");
        assert_eq!(error.to_string(), "log.filter = \"auditor=loud\" is not a filter");
    }
}
