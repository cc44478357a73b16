//! What every caller of Turnout needs: a way to the sidecar, errors that say what happened, and when to try again.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;
use std::{env, error, fs};

use prost::Message;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

pub mod v1 {
    tonic::include_proto!("turnout.v1");
}

pub type Client = v1::router_service_client::RouterServiceClient<InterceptedService<Channel, WithToken>>;
pub type AnyError = Box<dyn error::Error + Send + Sync>;

const MESSAGE_BYTES: usize = 32 * 1024 * 1024; // what the sidecar takes and sends; tonic's own limit is 4 MiB
const MAX_RETRY_COUNT: u32 = 3;
const DOMAIN: &str = "turnout.dev";

/// Connects as the environment says: TURNOUT_ADDRESS, TURNOUT_TOKEN_FILE and TURNOUT_CA_FILE. The connection itself is
/// made with the first call, and again after it was lost. Fails for a token that would go out in plain text.
pub fn connect() -> Result<Client, AnyError> {
    let address = env::var("TURNOUT_ADDRESS").unwrap_or("127.0.0.1:50151".into());
    let ca_file = env::var_os("TURNOUT_CA_FILE");
    let token_file = env::var_os("TURNOUT_TOKEN_FILE");
    if token_file.is_some() && ca_file.is_none() && !is_local(&address) {
        return Err(format!("the token would go to {address} in plain text: set TURNOUT_CA_FILE").into());
    }
    let endpoint = if address.starts_with("unix:") {
        // Without an origin tonic would say `tonic` as the authority.
        Endpoint::from_shared(address)?.origin("http://localhost".parse()?)
    } else if let Some(ca_file) = ca_file {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca_file)?));
        Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?
    } else {
        Endpoint::from_shared(format!("http://{address}"))?
    };
    let token = match token_file {
        Some(file) => Some(format!("Bearer {}", fs::read_to_string(file)?.trim()).parse()?),
        None => None,
    };
    Ok(Client::new(InterceptedService::new(endpoint.connect_lazy(), WithToken(token)))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES))
}

/// Tells whether what is sent there stays on this machine.
fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    address.starts_with("unix:")
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Puts the token beside every call.
pub struct WithToken(Option<MetadataValue<Ascii>>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Which errors a call may be made again after by itself.
#[derive(Clone, Copy)]
pub enum Retries {
    /// Route, ProviderStatus, ReportOutcome: once too often is harmless.
    Harmless,
    /// Execute, and ExecuteStream before the first content: only what surely was not billed.
    Executing,
}

/// A call that failed. `reason` is empty where the sidecar did not speak: then nobody knows what became of the call.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub decision_id: String,
    pub field_violations: Vec<(String, String)>,
    pub retry_after: Option<Duration>,
    pub retry_forbidden: bool,
    pub call: Option<v1::CallFailure>,
}

impl Failure {
    /// Returns how long to wait before the next try, None where there must not be one. `made_count` counts the retries
    /// so far.
    pub fn wait(&self, retries: Retries, made_count: u32) -> Option<Duration> {
        let allowed = match (retries, self.reason.as_str()) {
            (_, "SIDECAR_OVERLOADED" | "DRAINING") => true,
            (Retries::Executing, "ALL_TARGETS_UNAVAILABLE" | "ALL_ATTEMPTS_REFUSED") => true,
            (Retries::Harmless, "") => self.code == Code::Unavailable,
            _ => false,
        };
        if !allowed || self.retry_forbidden || made_count >= MAX_RETRY_COUNT {
            return None;
        }
        Some(match self.retry_after {
            Some(asked) => asked.mul_f64(1.0 + 0.2 * chance()),
            None => Duration::from_secs_f64((0.1 * f64::from(1 << made_count)).min(2.0) * chance()),
        })
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let told = details.error_info().filter(|info| info.domain == DOMAIN);
        // -1, or anything that is no number: not again.
        let pushback = text(status.metadata(), "grpc-retry-pushback-ms").map(|text| text.parse::<u64>());
        Self {
            code: status.code(),
            reason: told.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().into(),
            decision_id: text(status.metadata(), "turnout-decision-id").unwrap_or_default().into(),
            field_violations: details.bad_request().map_or_else(Vec::new, |bad| {
                bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect()
            }),
            retry_after: match &pushback {
                Some(Ok(milliseconds)) => Some(Duration::from_millis(*milliseconds)),
                _ => details.retry_info().and_then(|info| info.retry_delay),
            },
            retry_forbidden: matches!(pushback, Some(Err(_))),
            call: call_failure(&status),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let reason = if self.reason.is_empty() { "no word of the sidecar" } else { &self.reason };
        write!(to, "{reason} ({:?}): {}", self.code, self.message)?;
        for (field, description) in &self.field_violations {
            write!(to, "\n  {field}: {description}")?;
        }
        for attempt in self.call.iter().flat_map(|call| &call.attempts) {
            let target = attempt.target.as_ref().map_or(String::new(), name);
            write!(to, "\n  {target}: {}: {}", attempt.failure().as_str_name(), attempt.detail)?;
        }
        if let Some(wait) = self.retry_after {
            write!(to, "\n  again in {} s", wait.as_secs_f64())?;
        }
        if !self.decision_id.is_empty() {
            write!(to, "\n  decision {}", self.decision_id)?;
        }
        Ok(())
    }
}

impl error::Error for Failure {}

/// Returns a target as it is written everywhere.
pub fn name(target: &v1::Target) -> String {
    let at = if target.endpoint.is_empty() { "" } else { "@" };
    format!("{}/{}{at}{}", target.provider, target.model, target.endpoint)
}

/// The one detail that is Turnout's own: what was tried, delivered and spent. tonic-types passes over it.
fn call_failure(status: &Status) -> Option<v1::CallFailure> {
    let found = tonic_types::Status::decode(status.details()).ok()?;
    let own = found.details.iter().find(|any| any.type_url.ends_with("/turnout.v1.CallFailure"))?;
    v1::CallFailure::decode(own.value.as_slice()).ok()
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(|value| value.to_str().ok())
}

/// Returns a random number from 0 to 1; the standard library seeds its hash maps well.
fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}
