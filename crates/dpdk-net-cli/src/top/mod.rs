//! `dpdk-net top`: queues of a running application, live.
//!
//! `sample.rs` is what is asked for, `state.rs` what is shown and what keys do, `draw.rs` how it looks. Here threads bring keys, signals
//! and answers to the one that draws: a slow answer keeps no key waiting.

mod draw;
mod sample;
mod state;
mod units;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use clap::Args;
use dpdk_net::control::{Client, ControlError};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input, KeyEvent};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::sample::{LATENCIES, Sample};
use self::state::State;
use crate::failure::{Failure, Result};
use crate::output::Paint;
use crate::running::Which;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net top
      The queues of the application that runs, every second.
  dpdk-net top --interval 0.2 --socket /run/web.sock
      Five times a second, of the application with that control socket.

Keys: up and down select a queue, Enter shows it alone, s and r change the order, p pauses, h lists all keys, q quits.

Exit code: 0 when all went well, 1 when no application can be asked, 2 for a mistake on the command line.";

/// Watch the queues of a running application: packets, load, drops, memory, connections, latencies
///
/// Needs a terminal of 80 columns, over ssh as well as here. When the application ends it says so and waits for
/// another one.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct TopArgs {
    /// Seconds between two looks: 0.1 to 3600
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,

    #[command(flatten)]
    which: Which,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds")?;
    match seconds {
        0.1..=3600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it is not 0.1 to 3600".to_owned()),
    }
}

/// What the thread that draws waits for.
enum Event {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    Told(Result<Sample, ControlError>),
    /// SIGTERM, SIGHUP or SIGINT.
    Signal,
    /// The terminal is gone.
    Deaf(io::Error),
}

/// Shows them until a key or a signal ends it.
pub(crate) fn run(args: &TopArgs, paint: Paint) -> Result {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(
            "top draws on a terminal, and this is none",
            "dpdk-net stats --watch writes lines",
        ));
    }
    // What is wrong at the start is told without a screen.
    let mut client = args.which.connect()?;
    let mut state = State::new(client.path().display().to_string());
    state.hear(ask(&mut client)?);

    let (events, inbox) = mpsc::channel();
    let asks = args.clone();
    let told = events.clone();
    thread::spawn(move || ask_on(&asks, client, &told));
    let heard = events.clone();
    thread::spawn(move || signals(&heard));

    let no_screen =
        |error: io::Error| Failure::new(format!("the terminal can't be used: {error}"), "");
    // Its hook restores the terminal before a panic is told.
    let mut terminal = ratatui::try_init().map_err(no_screen)?;
    thread::spawn(move || keys(&events));
    let ended = live(&mut terminal, &mut state, &inbox, paint.is_on());
    ratatui::restore();
    ended.map_err(no_screen)
}

fn live(
    terminal: &mut DefaultTerminal,
    state: &mut State,
    inbox: &mpsc::Receiver<Event>,
    colours: bool,
) -> io::Result<()> {
    loop {
        terminal.draw(|frame| draw::draw(frame, state, colours))?;
        let Ok(event) = inbox.recv() else {
            return Ok(());
        };
        match event {
            Event::Key(key) if state.key(key) => return Ok(()),
            Event::Signal => return Ok(()),
            Event::Deaf(error) => return Err(error),
            Event::Told(Ok(sample)) => state.hear(sample),
            Event::Told(Err(error)) => state.lose(error.to_string()),
            Event::Key(_) | Event::Resized => {}
        }
    }
}

/// Keys and sizes, until nobody wants them.
fn keys(events: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(Input::Key(key)) => Event::Key(key),
            Ok(Input::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(error) => {
                let _ = events.send(Event::Deaf(error));
                return;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// Signals that would leave the terminal as it is. Without a runtime for them they do.
fn signals(events: &Sender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return;
    };
    runtime.block_on(async {
        let heard = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ]
        .map(signal);
        if let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = heard {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = events.send(Event::Signal);
        }
    });
}

/// Asks once in an interval, until nobody wants to know; connects again where the application is gone.
fn ask_on(args: &TopArgs, client: Client, events: &Sender<Event>) {
    let mut client = Some(client);
    loop {
        thread::sleep(args.interval);
        let asked = match client.take() {
            Some(client) => Ok(client),
            None => args.which.try_connect(),
        };
        let told = asked.and_then(|mut asked| {
            let sample = ask(&mut asked)?;
            client = Some(asked);
            Ok(sample)
        });
        if events.send(Event::Told(told)).is_err() {
            return;
        }
    }
}

fn ask(client: &mut Client) -> Result<Sample, ControlError> {
    let queues = client.ask(&json!({ "command": "queues" }))?;
    let names: Vec<&str> = LATENCIES.iter().map(|(_, name)| *name).collect();
    let stats = client.ask(&json!({ "command": "stats", "names": names }))?;
    Ok(Sample::from_json(&queues, &stats))
}
