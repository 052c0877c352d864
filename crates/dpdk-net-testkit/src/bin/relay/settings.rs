//! The command line: options with one value for both directions or one for each, and their units.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use dpdk_net_testkit::relay::End;
use dpdk_net_testkit::sim::LinkConfig;

const ABOUT: &str = "A bad network between two interfaces: forwards Ethernet frames and delays, loses, reorders, duplicates or \
                     corrupts some";

const EXAMPLES: &str = "\
Every option of a direction takes one value for both, or two with a comma between them: left to right, right to left.

  shares      a percentage: 0.1%, 3%
  times       a number with its unit: 500us, 20ms, 1s
  rates       bits per second: 64k, 100M, 2.5G

Interfaces are Ethernet: ends of veth pairs, TAP devices, NICs. One in another network namespace is written
NETNS/INTERFACE, NETNS being a name of `ip netns`. It should have no address of its own (and IPv6 switched off), so that
the kernel sends nothing into the relay's cable by itself.

The kernel leaves checksums and segmentation to the other end of a veth pair. A relay needs finished frames, so at the
ends that the traffic comes from: ethtool -K INTERFACE tx off

A relay between two namespaces, as root:

  ip netns add a; ip netns add b
  ip link add a0 netns a type veth peer name ra
  ip link add b0 netns b type veth peer name rb
  ip -n a addr add 198.18.0.1/24 dev a0; ip -n b addr add 198.18.0.2/24 dev b0
  for l in a/a0 b/b0; do ip -n ${l%/*} link set ${l#*/} up; ip netns exec ${l%/*} ethtool -K ${l#*/} tx off; done
  for i in ra rb; do sysctl -qw net.ipv6.conf.$i.disable_ipv6=1; ip link set $i up; done
  dpdk-net-relay ra rb --delay 20ms --rate 100M --queue 330 --loss 1%,0%
  # elsewhere: ip netns exec a ping 198.18.0.2
  ip netns del a; ip netns del b

The same --seed makes the same choices for the same frames in the same order. Ends with SIGINT or SIGTERM, then prints its
counters.";

/// What the command line says.
#[derive(Debug, Parser)]
#[command(name = "dpdk-net-relay", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Settings {
    /// One interface: NAME or NETNS/NAME
    #[arg(value_parser = end)]
    pub(crate) left: End,
    /// The other one
    #[arg(value_parser = end)]
    pub(crate) right: End,
    /// Delay of every frame
    #[arg(long, value_name = "TIME[,TIME]", default_value = "0ms")]
    delay: Pair<Time>,
    /// Extra delay, even between nothing and this; frames keep their order
    #[arg(long, value_name = "TIME[,TIME]", default_value = "0ms")]
    jitter: Pair<Time>,
    /// Share of the frames that is lost
    #[arg(long, value_name = "SHARE[,SHARE]", default_value = "0%")]
    loss: Pair<Share>,
    /// Share of the frames that is held back while others overtake it
    #[arg(long, value_name = "SHARE[,SHARE]", default_value = "0%")]
    reorder: Pair<Share>,
    /// How long a reordered or duplicated frame is late at most
    #[arg(long, value_name = "TIME[,TIME]", default_value = "3ms")]
    reorder_delay: Pair<Time>,
    /// Share of the frames that arrives twice
    #[arg(long, value_name = "SHARE[,SHARE]", default_value = "0%")]
    duplicate: Pair<Share>,
    /// Share of the frames that arrives with one bit of the IP packet flipped (others than IP are lost instead)
    #[arg(long, value_name = "SHARE[,SHARE]", default_value = "0%")]
    corrupt: Pair<Share>,
    /// Bits per second, headers included; no limit if it is left out
    #[arg(long, value_name = "RATE[,RATE]")]
    rate: Option<Pair<Rate>>,
    /// Frames that wait at most where there is a rate; one more is dropped
    #[arg(long, value_name = "FRAMES[,FRAMES]", default_value = "256")]
    queue: Pair<Frames>,
    /// Longest frame that passes, in bytes with its Ethernet header; a path-MTU black hole
    #[arg(long, value_name = "BYTES[,BYTES]")]
    max_frame: Option<Pair<Frames>>,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// IP MTU of the interfaces: longer frames pass, and are warned of
    #[arg(long, default_value_t = 1_500)]
    pub(crate) mtu: u16,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,
    /// Print the counters each time that this much has passed
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) every: Option<Duration>,
}

impl Settings {
    /// The links there and back.
    pub(crate) fn links(&self) -> Result<(LinkConfig, LinkConfig), String> {
        if self.left == self.right {
            return Err(format!(
                "both interfaces are {}: a relay needs two",
                self.left
            ));
        }
        if self.every == Some(Duration::ZERO) {
            return Err("--every 0 would print without end: give it some time".into());
        }
        Ok((self.link(0), self.link(1)))
    }

    fn link(&self, way: usize) -> LinkConfig {
        let hold = self.reorder_delay.0[way].0;
        let mut link = LinkConfig::delay(self.delay.0[way].0)
            .with_jitter(self.jitter.0[way].0)
            .with_loss(self.loss.0[way].0)
            .with_reordering(self.reorder.0[way].0, hold)
            .with_duplication(self.duplicate.0[way].0)
            .with_corruption(self.corrupt.0[way].0);
        if let Some(rate) = &self.rate {
            link = link.with_rate(rate.0[way].0, self.queue.0[way].0);
        }
        if let Some(longest) = &self.max_frame {
            link = link.with_max_frame(longest.0[way].0);
        }
        link
    }
}

/// A link in words.
pub(crate) fn describe(link: &LinkConfig) -> String {
    let mut words = vec![format!("delay {:?}", link.latency)];
    if link.jitter > Duration::ZERO {
        words.push(format!("jitter {:?}", link.jitter));
    }
    for (name, share) in [
        ("loss", link.loss),
        ("reordering", link.reorder),
        ("duplication", link.duplicate),
        ("corruption", link.corrupt),
    ] {
        if share > 0.0 {
            words.push(format!("{name} {}%", share * 100.0));
        }
    }
    if link.reorder > 0.0 || link.duplicate > 0.0 {
        words.push(format!("late by up to {:?}", link.reorder_delay));
    }
    if let Some(rate) = link.rate_bps {
        words.push(format!(
            "{} Mbit/s, queue of {}",
            rate as f64 / 1e6,
            link.queue_frames
        ));
    }
    if let Some(longest) = link.max_frame {
        words.push(format!("frames of up to {longest} bytes"));
    }
    words.join(", ")
}

/// A value for each direction.
#[derive(Clone, Copy, Debug)]
struct Pair<T>([T; 2]);

impl<T: FromStr<Err = String> + Copy> FromStr for Pair<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut values = text.split(',').map(|value| value.trim().parse());
        match (values.next(), values.next(), values.next()) {
            (Some(both), None, _) => both.map(|value| Self([value; 2])),
            (Some(there), Some(back), None) => Ok(Self([there?, back?])),
            _ => Err("one value for both directions, or two with a comma between them".into()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Time(Duration);
#[derive(Clone, Copy, Debug)]
struct Share(f64);
#[derive(Clone, Copy, Debug)]
struct Rate(u64);
#[derive(Clone, Copy, Debug)]
struct Frames(usize);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        time(text).map(Self)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no share: a percentage such as 0.1% is one, from 0% to 100%");
        let percent: f64 = text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse().ok())
            .ok_or_else(wrong)?;
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(percent / 100.0))
        } else {
            Err(wrong())
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) = match text.char_indices().next_back() {
            Some((at, 'k' | 'K')) => (&text[..at], 1e3),
            Some((at, 'M')) => (&text[..at], 1e6),
            Some((at, 'G')) => (&text[..at], 1e9),
            _ => (text, 1.0),
        };
        match number.parse::<f64>() {
            Ok(number) if (1.0..=1e12).contains(&(number * factor)) => {
                Ok(Self((number * factor) as u64))
            }
            _ => Err(format!(
                "`{text}` is no rate: bits per second such as 64k, 100M or 2.5G are, from 1 to 1000G"
            )),
        }
    }
}

impl FromStr for Frames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is no whole number"))
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is no time: a number with its unit such as 500us, 20ms or 1s is, up to an hour"
        )
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err(wrong()),
    };
    let seconds = digits.parse::<f64>().map_err(|_| wrong())? * unit;
    if (0.0..=3_600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(wrong())
    }
}

fn end(text: &str) -> Result<End, String> {
    let wrong = || format!("`{text}` is no interface: NAME or NETNS/NAME is");
    match text.rsplit_once('/') {
        None if text.is_empty() => Err(wrong()),
        None => Ok(End::here(text)),
        Some((netns, interface)) if netns.is_empty() || interface.is_empty() => Err(wrong()),
        // A path is taken as it is, a name is one of `ip netns`.
        Some((netns, interface)) => Ok(End {
            interface: interface.into(),
            netns: Some(
                Path::new("/run/netns")
                    .join(netns)
                    .to_string_lossy()
                    .into_owned(),
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Result<Settings, clap::Error> {
        Settings::try_parse_from([&["relay", "a", "ns/b"], args].concat())
    }

    #[test]
    fn one_value_is_for_both_directions_and_two_are_for_each() {
        let settings = settings(&[
            "--loss",
            "1%,0.1%",
            "--delay=20ms",
            "--rate",
            "100M,2.5G",
            "--queue",
            "9,10",
        ])
        .unwrap();
        assert_eq!(settings.right.netns.as_deref(), Some("/run/netns/ns"));
        let (there, back) = settings.links().unwrap();
        assert_eq!((there.loss, back.loss), (0.01, 0.001));
        assert_eq!(
            (there.latency, back.latency),
            (Duration::from_millis(20), Duration::from_millis(20))
        );
        assert_eq!(
            (there.rate_bps, back.rate_bps),
            (Some(100_000_000), Some(2_500_000_000))
        );
        assert_eq!((there.queue_frames, back.queue_frames), (9, 10));
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_form_it_should_have() {
        for (args, words) in [
            (["--loss", "1"], "percentage such as 0.1%"),
            (["--loss", "101%"], "from 0% to 100%"),
            (["--loss", "-1%"], "from 0% to 100%"),
            (["--loss", "NaN%"], "percentage"),
            (["--loss", "1%,2%,3%"], "comma"),
            (["--delay", "20"], "500us"),
            (["--delay", "1e9s"], "up to an hour"),
            (["--rate", "0"], "64k"),
            (["--rate", "fast"], "64k"),
            (["--queue", "-1"], "whole number"),
        ] {
            let glued = format!("{}={}", args[0], args[1]);
            let error = settings(&[&glued]).unwrap_err().to_string();
            assert!(error.contains(words), "{args:?}: {error}");
        }
        assert!(Settings::try_parse_from(["relay", "a/", "b"]).is_err());
        let same = Settings::try_parse_from(["relay", "a", "a"]).unwrap();
        assert!(same.links().unwrap_err().contains("two"));
    }

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        Settings::command().debug_assert();
    }
}
