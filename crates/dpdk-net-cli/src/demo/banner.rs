//! What the demo prints once it serves: where it is and what to try.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::args::DemoArgs;
use super::device::Device;
use super::namespace::Place;

/// The last line, after which every URL above it answers.
const READY: &str = "Ready. Ctrl-C ends it and leaves nothing behind.";

/// Prints it. That nobody reads it is no reason to stop serving.
pub(super) fn print(args: &DemoArgs, place: Place, cpu: u16, socket: Option<&Path>) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text(args, place, cpu, socket).as_bytes());
    let _ = stdout.flush();
}

fn text(args: &DemoArgs, place: Place, cpu: u16, socket: Option<&Path>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut text, args, place, cpu);
    let _ = write_control(&mut text, socket);
    let _ = writeln!(text, "\n{READY}");
    text
}

fn write_text(text: &mut String, args: &DemoArgs, place: Place, cpu: u16) -> std::fmt::Result {
    let addresses: Vec<IpAddr> = args.addresses.iter().map(|cidr| cidr.addr()).collect();
    writeln!(
        text,
        "dpdk-net demo: a TCP/IP stack in user space on {}, polling on CPU {cpu}",
        args.device.port_name()
    )?;
    if args.device.has_kernel_end() {
        let peers: Vec<String> = args
            .peer_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        writeln!(
            text,
            "the kernel's end: {} with {}",
            args.interface,
            peers.join(" and ")
        )?;
    }
    writeln!(text)?;
    for addr in &addresses {
        writeln!(text, "  {}/", base(*addr, args.http_port))?;
    }
    if !args.no_small_services {
        writeln!(
            text,
            "  echo, discard and chargen on TCP and UDP ports 7, 9 and 19"
        )?;
    }

    match &args.device {
        Device::AfPacket(name) | Device::AfXdp(name) => {
            writeln!(text, "\nFrom another machine on the network of {name}, try")?;
        }
        Device::Memif(_) | Device::Pci(_) | Device::Vdev(_) => {
            writeln!(text, "\nFrom the other end, try")?
        }
        Device::Tap | Device::Veth if place == Place::Namespace => {
            writeln!(
                text,
                "\nWithout root this runs in a namespace of its own (process {}). In another terminal, try",
                std::process::id()
            )?;
        }
        Device::Tap | Device::Veth => writeln!(text, "\nIn another terminal, try")?,
    }
    let prefix = if args.device.has_kernel_end() {
        place.prefix()
    } else {
        String::new()
    };
    if let Some(first) = addresses.first() {
        let base = base(*first, args.http_port);
        // Without a quote, the shell would take the brackets of an IPv6 address for a pattern.
        let quote = if first.is_ipv6() { "'" } else { "" };
        writeln!(text, "  {prefix}curl {quote}{base}/{quote}")?;
        writeln!(
            text,
            "  {prefix}curl --output /dev/null {quote}{base}/download/100MiB{quote}"
        )?;
        writeln!(
            text,
            "  {prefix}curl --data-binary @FILE {quote}{base}/upload{quote}"
        )?;
    }
    for addr in &addresses {
        writeln!(text, "  {prefix}ping -c 3 {addr}")?;
    }
    if place == Place::Namespace && args.device.has_kernel_end() {
        writeln!(
            text,
            "A shell in there: {prefix}$SHELL. Run as root, the demo is in the open, for browsers too."
        )?;
    }
    Ok(())
}

/// What can be asked of the demo, from where it was started.
fn write_control(text: &mut String, socket: Option<&Path>) -> std::fmt::Result {
    let Some(socket) = socket else {
        return writeln!(
            text,
            "\nThere is no control socket: no directory for it can be written"
        );
    };
    // In quotes where a shell would take it apart.
    let path = socket.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.,:+@%".contains(c);
    let quote = if path.chars().all(plain) { "" } else { "'" };
    writeln!(text, "\nThe control socket, for its owner alone: {path}")?;
    writeln!(
        text,
        "  dpdk-net top --socket {quote}{path}{quote}    (or ss, stats, capture, trace)"
    )
}

fn base(addr: IpAddr, port: u16) -> String {
    let host = match addr {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    if port == 80 {
        format!("http://{host}")
    } else {
        format!("http://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn demo(args: &[&str]) -> DemoArgs {
        Line::try_parse_from(std::iter::once(&"demo").chain(args))
            .unwrap()
            .demo
            .checked()
            .unwrap()
    }

    #[test]
    fn in_the_open_the_commands_stand_alone() {
        let socket = Path::new("/run/dpdk-net/demo.sock");
        let text = text(&demo(&[]), Place::Here, 1, Some(socket));
        assert!(
            text.contains("\n  http://198.18.0.2/\n  http://[fd00:198:18::2]/\n"),
            "{text}"
        );
        assert!(text.contains("\n  curl http://198.18.0.2/\n"), "{text}");
        assert!(text.contains("\n  ping -c 3 fd00:198:18::2\n"), "{text}");
        assert!(!text.contains("nsenter"), "{text}");
        assert!(
            text.contains("\n  dpdk-net top --socket /run/dpdk-net/demo.sock "),
            "{text}"
        );
        assert!(text.ends_with(&format!("\n{READY}\n")), "{text}");
    }

    #[test]
    fn in_a_namespace_every_command_enters_it() {
        let socket = Some(Path::new("/tmp/a b/demo.sock"));
        let text = text(&demo(&["--http-port", "8080"]), Place::Namespace, 1, socket);
        assert!(
            text.contains("\n  dpdk-net top --socket '/tmp/a b/demo.sock' "),
            "{text}"
        );
        let command = format!(
            "\n  nsenter --target {} --user --net --preserve-credentials curl http://198.18.0.2:8080/\n",
            std::process::id()
        );
        assert!(text.contains(&command), "{text}");
        assert!(
            text.lines()
                .filter(|l| l.contains("ping "))
                .all(|l| l.contains("nsenter")),
            "{text}"
        );
    }

    #[test]
    fn without_the_small_services_they_are_not_offered() {
        assert!(!text(&demo(&["--no-small-services"]), Place::Here, 0, None).contains("chargen"));
    }
}
