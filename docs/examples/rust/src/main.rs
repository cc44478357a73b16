//! Calls Turnout from Rust: `turnout-from-rust route TASK` shows a plan, `turnout-from-rust ask PROMPT` has a question
//! answered and shows the answer as it comes. `--seconds N` is the deadline. Ctrl-C ends the provider's call too.

mod turnout;

use std::env;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Status};

use turnout::v1::execute_stream_response::Event;
use turnout::{AnyError, Client, Failure, Retries, name, v1};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = run() => ended,
        // What is dropped here is cancelled: the call, and what the sidecar does for it.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), AnyError> {
    let mut words: Vec<String> = env::args().skip(1).collect();
    let seconds = match words.iter().position(|word| word == "--seconds") {
        Some(at) if at + 1 < words.len() => words.drain(at..at + 2).nth(1),
        _ => None,
    };
    let mut client = turnout::connect()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["route", task] => route(&mut client, task, within(seconds.as_deref().unwrap_or("2"))?).await,
        ["ask", prompt] => ask(&mut client, prompt, within(seconds.as_deref().unwrap_or("1800"))?).await,
        _ => Err("usage: turnout-from-rust [--seconds N] route TASK | ask PROMPT".into()),
    }
}

fn within(seconds: &str) -> Result<Instant, String> {
    let time = seconds.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.and_then(|time| Instant::now().checked_add(time))
        .ok_or_else(|| format!("--seconds is {seconds}: give a number of seconds, at least 0"))
}

/// Shows a plan: whom to call oneself, in this order, each no longer than it says before its first content.
async fn route(client: &mut Client, task: &str, deadline: Instant) -> Result<(), AnyError> {
    let asked = v1::RouteRequest {
        profile: Some(v1::RequestProfile { task: task.into(), ..Default::default() }),
        ..Default::default()
    };
    let mut made_count = 0;
    let plan = loop {
        match timeout_at(deadline, client.route(until(asked.clone(), deadline))).await? {
            Ok(answer) => break answer.into_inner().decision.unwrap_or_default(),
            Err(status) => again(status.into(), Retries::Harmless, &mut made_count, deadline).await?,
        }
    };
    println!("decision {}: {}", plan.decision_id, plan.reason);
    for candidate in &plan.candidates {
        let target = candidate.target.as_ref().map_or(String::new(), name);
        println!("{target} speaks {} at {}", candidate.wire, candidate.base_url);
    }
    Ok(())
}

/// Shows an answer while it comes.
async fn ask(client: &mut Client, prompt: &str, deadline: Instant) -> Result<(), AnyError> {
    let text = v1::Part { content: Some(v1::part::Content::Text(prompt.into())), ..Default::default() };
    let message = v1::Message { role: v1::Role::User.into(), parts: vec![text] };
    let asked = v1::ExecuteStreamRequest {
        profile: Some(v1::RequestProfile { task: "chat".into(), ..Default::default() }),
        // Whoever says so must be able to forget what it has shown.
        options: Some(v1::RoutingOptions { mid_stream: v1::MidStreamPolicy::Restart.into(), ..Default::default() }),
        input: Some(v1::ChatInput { messages: vec![message], ..Default::default() }),
        ..Default::default()
    };
    let mut made_count = 0;
    loop {
        let mut answer = Answer::default();
        let ended = timeout_at(deadline, answer.read(client, until(asked.clone(), deadline))).await;
        match ended? {
            Ok(()) => return answer.check(),
            // After the first content it would be a second answer, and a second bill.
            Err(status) if answer.has_content => return Err(Failure::from(status).into()),
            Err(status) => again(status.into(), Retries::Executing, &mut made_count, deadline).await?,
        }
    }
}

/// A streamed answer, as far as it has come.
#[derive(Default)]
struct Answer {
    text: String,
    discarded: Vec<String>,
    has_content: bool,
    completion: Option<v1::Completion>,
}

impl Answer {
    async fn read(&mut self, client: &mut Client, request: Request<v1::ExecuteStreamRequest>) -> Result<(), Status> {
        let mut events = client.execute_stream(request).await?.into_inner();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Event::Delta(delta)) if !self.discarded.contains(&delta.attempt_id) => {
                    self.has_content = true;
                    if let Some(v1::delta::Content::Text(text)) = delta.content {
                        print!("{text}");
                        stdout().flush()?;
                        self.text += &text;
                    }
                }
                Some(Event::Restart(restart)) => {
                    println!("\n[it begins again: {}]", restart.failure().as_str_name());
                    self.text.clear();
                    self.discarded.push(restart.discarded_attempt_id);
                }
                Some(Event::Completion(completion)) => self.completion = Some(completion),
                // The decision, the attempts, the failure that the status repeats, and what a newer sidecar adds.
                _ => {}
            }
        }
        Ok(())
    }

    /// Fails where the stream ended without its completion: then what came is not the answer.
    fn check(&self) -> Result<(), AnyError> {
        let completion = self.completion.as_ref().ok_or("the stream ended without its completion")?;
        let target = completion.target.as_ref().map_or(String::new(), name);
        println!("\n[{} characters of {target}, attempts: {}]", self.text.chars().count(), completion.attempts.len());
        Ok(())
    }
}

/// Returns the request with what is left of the time in `grpc-timeout`, so that the sidecar knows it too.
fn until<T>(message: T, deadline: Instant) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

/// Waits until the call may be made again; returns the failure where it must not be, or where no time is left.
async fn again(failure: Failure, retries: Retries, made_count: &mut u32, deadline: Instant) -> Result<(), Failure> {
    match failure.wait(retries, *made_count) {
        Some(wait) if Instant::now() + wait < deadline => {
            *made_count += 1;
            sleep(wait).await;
            Ok(())
        }
        _ => Err(failure),
    }
}
