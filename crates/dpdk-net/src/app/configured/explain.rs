//! What an error at start has to do with which line of the file.

use dpdk_net_config::File;

use crate::error::Error;

/// The error with the line that is to blame, where there is one.
pub(super) fn explain(file: &File, error: Error) -> Error {
    let config = file.config();
    let port_of = |name: &str| {
        let names = (0..config.port.len()).map(|index| file.port_name(index));
        names.into_iter().position(|own| own == name).unwrap_or(0)
    };
    let (path, help) = match &error {
        Error::BadQueues { port, most, .. } => (
            format!("port[{}].queues", port_of(port)),
            format!("1 to {most}"),
        ),
        Error::BadValue {
            what: "the number of workers",
            expected,
            ..
        } => ("workers.count".to_owned(), expected.clone()),
        Error::BadValue {
            what: "the number of mbufs",
            expected,
            ..
        } => ("port".to_owned(), expected.clone()),
        Error::AddressTaken { address } => {
            let place = config.networks().into_iter().find_map(|(at, _, network)| {
                let own = network
                    .addresses
                    .iter()
                    .position(|cidr| cidr.addr == *address)?;
                Some(format!("{at}.addresses[{own}]"))
            });
            let path = place.unwrap_or_else(|| "network".to_owned());
            (
                path,
                "give this port another one, or remove it from the other host".to_owned(),
            )
        }
        Error::Listen { name, .. } => {
            let index = config
                .listener
                .iter()
                .position(|listener| listener.name == *name);
            let path = format!("listener[{}].address", index.unwrap_or(0));
            (path, "each address and port is listened on once".to_owned())
        }
        Error::Dpdk(source) => {
            let text = source.to_string();
            let named =
                (0..config.port.len()).find(|index| text.contains(&file.device_name(*index)));
            let Some(index) = named else {
                return error;
            };
            let (path, help) = blame(index, &text);
            (path, help.to_owned())
        }
        _ => return error,
    };
    file.refuse(&path, error.to_string(), help).into()
}

/// What of a port DPDK's refusal is about.
fn blame(index: usize, text: &str) -> (String, &'static str) {
    let keys = [
        ("mtu", "mtu", "take an MTU that the device has"),
        (
            "descriptor",
            "descriptors",
            "leave `descriptors` out to have what the driver recommends",
        ),
        (
            "rss.key",
            "rss.key",
            "a key has as many bytes as the device's",
        ),
        ("offload", "offloads", "\"auto\" has what the port offers"),
        (
            "flow rule",
            "flow",
            "optional = true starts the port without the rule",
        ),
    ];
    let found = keys
        .iter()
        .find(|(word, ..)| text.to_lowercase().contains(word));
    match found {
        Some((_, key, help)) => (format!("port[{index}].{key}"), help),
        None => (
            format!("port[{index}]"),
            "see docs/devices.md for what each device can do",
        ),
    }
}
