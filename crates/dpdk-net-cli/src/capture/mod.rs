//! `dpdk-net capture`: the frames of a running service into files, as `tcpdump -w` does it for the kernel's interfaces.
//!
//! The service is asked over its control socket and sends pcapng; here it is cut into files. Ctrl-C has the service end the
//! capture, so that what it still holds and its figures are in the file.

mod files;
mod filter;
mod stream;

use std::time::Duration;

use clap::{Args, ValueEnum};
use dpdk_net::control::LONGEST_QUESTION;
use serde_json::{Value, json};

use self::files::{Files, Rotation};
use self::stream::{Outcome, Untold};
use crate::failure::{Failure, Result};
use crate::running::Which;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net capture -w web.pcapng 'tcp port 443'
      What comes and goes on port 443, until Ctrl-C.
  dpdk-net capture -w - | tshark -r -
      Everything, printed while it comes.
  dpdk-net capture -w drops.pcapng --dropped -c 100
      The first hundred frames that the stack drops, each with the reason as a comment.
  dpdk-net capture -w ring.pcapng -s 96 -C 100 -W 10
      The first 96 bytes of each frame, in ten files of 100 MB, the oldest overwritten.
  dpdk-net capture -w 'web-%H%M.pcapng' -G 600 --queue 0
      Frames of queue 0, a file for every ten minutes.

Ctrl-C ends a capture, a second one at once: the file is whole, and what was captured and lost is told.

Exit code: 0 when all went well, 1 where the service or a file refused, 2 for a mistake on the command line.";

/// Capture frames of a running service as pcapng, with a filter as tcpdump's
///
/// Received frames are captured as the NIC delivers them, also where the stack drops them; sent ones as they are handed to it. The
/// service never waits for the capture: what there is no room for is lost and counted. Frames have their queue (epb_queue) and
/// direction, and a comment why the stack dropped them.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CaptureArgs {
    /// Which frames, in tcpdump's language (pcap-filter(7)); all without one
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    filter: Vec<String>,

    #[command(flatten)]
    which: Which,

    /// The file to write; `-` is standard output
    #[arg(short = 'w', long, value_name = "FILE")]
    write: String,

    /// End after so many frames
    #[arg(short = 'c', long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Keep so many bytes of a frame
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = dpdk_net::capture::MAX_SNAPLEN,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(dpdk_net::capture::MAX_SNAPLEN)))]
    snapshot_length: u32,

    /// Begin another file after so many millions of bytes
    #[arg(short = 'C', long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    file_size: Option<u64>,

    /// Begin another file after so many seconds; the name is a format of strftime(3)
    #[arg(short = 'G', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    rotate_seconds: Option<u64>,

    /// With --file-size, overwrite the oldest of so many files; with --rotate-seconds alone, end after so many
    #[arg(short = 'W', long, value_name = "FILES", value_parser = clap::value_parser!(u32).range(1..))]
    file_count: Option<u32>,

    /// Which direction
    #[arg(
        short = 'Q',
        long,
        value_name = "DIRECTION",
        value_enum,
        default_value_t
    )]
    direction: Direction,

    /// Only received frames that the stack dropped
    #[arg(long)]
    dropped: bool,

    /// A queue to capture, by its number; repeat for several, all without one
    #[arg(long = "queue", value_name = "QUEUE")]
    queues: Vec<u16>,

    /// A port to capture, by its name; repeat for several, all without one
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<String>,

    /// KiB between each queue and this program, for what comes faster than it is written
    #[arg(short = 'B', long, value_name = "KIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(64..=262_144))]
    buffer_size: u64,
}

/// `-Q`, in tcpdump's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Received frames
    In,
    /// Sent frames
    Out,
    /// Both
    #[default]
    Inout,
}

/// Captures until it is told to end.
pub(crate) fn run(args: &CaptureArgs) -> Result {
    let files = check(args)?;
    let text = args.filter.join(" ");
    let mut question = json!({
        "command": "capture",
        "snaplen": args.snapshot_length,
        "direction": match args.direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Inout => "inout",
        },
        "dropped": args.dropped,
        "queues": args.queues,
        "ports": args.ports,
        "buffer": args.buffer_size * 1024,
    });
    if let Some(count) = args.count {
        question["count"] = count.into();
    }
    if let Some(program) = filter::compile(&text)? {
        let program = program
            .iter()
            .map(|one| json!([one.code, one.jt, one.jf, one.k]));
        question["program"] = program.collect();
        question["filter"] = text.into();
        fits(&question)?;
    }
    let client = args.which.connect()?;
    let Outcome {
        captured,
        lost,
        untold,
    } = stream::capture(client, &question, files)?;
    let Some(untold) = untold else {
        eprintln!("{captured} packets captured, {lost} lost");
        return Ok(());
    };
    eprintln!("{captured} packets captured, at least {lost} lost");
    let what = match untold {
        Untold::Cut => "it was ended before the service had sent what it still held",
        Untold::Gone => {
            "the service ended while it was captured, and did not tell how many were lost"
        }
    };
    Err(Failure::new(what, "what has been written is whole"))
}

/// Whether the service reads a question with a filter in it.
fn fits(question: &Value) -> Result {
    // With the end of the line.
    let len = question.to_string().len() + 1;
    if len <= LONGEST_QUESTION {
        return Ok(());
    }
    let what = format!(
        "the filter is too long: with what it was compiled to the question has {len} bytes, at most {LONGEST_QUESTION} can be"
    );
    let remedy = "say it shorter, with `net` or `portrange` in the place of many hosts or ports";
    Err(Failure::usage(what, remedy))
}

fn check(args: &CaptureArgs) -> Result<Files> {
    if args.dropped && args.direction == Direction::Out {
        let what =
            "--dropped with --direction out: frames that are sent are not dropped by the stack";
        return Err(Failure::usage(what, "leave one of them out"));
    }
    if args.file_count.is_some() && args.file_size.is_none() && args.rotate_seconds.is_none() {
        let what = "--file-count limits files that are begun by --file-size or --rotate-seconds";
        return Err(Failure::usage(what, "give one of these too"));
    }
    if args.write == "-" {
        if args.file_size.is_some() || args.rotate_seconds.is_some() {
            let what = "--write -: standard output is one file";
            return Err(Failure::usage(
                what,
                "leave --file-size and --rotate-seconds out",
            ));
        }
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            let what = "--write -: a capture is nothing for a terminal";
            return Err(Failure::usage(
                what,
                "let a program read it, as in `-w - | tshark -r -`",
            ));
        }
    }
    let rotation = Rotation {
        size: args.file_size.map(|size| size * 1_000_000),
        period: args.rotate_seconds.map(Duration::from_secs),
        count: args.file_count,
    };
    Files::new(&args.write, rotation)
}
