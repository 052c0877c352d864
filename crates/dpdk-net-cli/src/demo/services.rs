//! Echo, discard and chargen (RFC 862, 863, 864) over TCP and UDP.
//!
//! Each service is a function of a byte stream or of a datagram socket, whatever stack carries it: the tests
//! run them on the kernel's sockets, the demo on dpdk-net's. What listens and how many connections there may
//! be is in `serve_tcp`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};

/// Connections that one TCP service has at a time; further ones wait in the listener's backlog.
pub(crate) const MAX_CONNECTIONS: usize = 20_000;

/// A connection starts with a small buffer, so that idle ones cost little, and grows it while it is filled.
const FIRST_BUFFER: usize = 1024;
const LARGEST_BUFFER: usize = 64 * 1024;

/// What chargen writes: lines of 72 out of the 95 printable characters, each line one further on.
const LINE: usize = 72;
const PRINTABLE: u8 = 95;

/// Something that accepts byte streams.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// Something that sends and receives datagrams.
pub(crate) trait Datagrams: Send + Sync + 'static {
    /// Waits for a datagram; gives its length and sender.
    fn recv_from(
        &self,
        buffer: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    /// Sends a datagram.
    fn send_to(
        &self,
        datagram: &[u8],
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<usize>> + Send;
}

/// A small service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends back what it gets.
    Echo,
    /// Swallows what it gets.
    Discard,
    /// Sends characters for as long as the peer takes them.
    Chargen,
}

impl Service {
    /// All three.
    pub(crate) const ALL: [Self; 3] = [Self::Echo, Self::Discard, Self::Chargen];

    /// The assigned port, TCP and UDP alike.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Echo => 7,
            Self::Discard => 9,
            Self::Chargen => 19,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Chargen => "chargen",
        }
    }

    async fn stream<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) -> io::Result<()> {
        match self {
            Self::Echo => echo(stream).await,
            Self::Discard => discard(stream).await,
            Self::Chargen => chargen(stream).await,
        }
    }

    /// The answer to `datagram`, if the service answers datagrams at all.
    fn answer<'a>(self, datagram: &'a [u8], lines: &'a Lines) -> Option<&'a [u8]> {
        match self {
            Self::Echo => Some(datagram),
            Self::Discard => None,
            Self::Chargen => Some(lines.answer_to(datagram.len())),
        }
    }
}

/// Accepts connections and runs `service` on each, until `stopped` is true: then it drops them all.
pub(crate) async fn serve_tcp<L: Listener>(
    listener: L,
    service: Service,
    mut stopped: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            (Ok(permit), Ok((stream, peer))) => {
                let mut stopped = stopped.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        ended = service.stream(stream) => if let Err(error) = ended {
                            tracing::debug!(service = service.name(), %peer, %error, "connection ended early");
                        },
                        _ = stopped.wait_for(|stopped| *stopped) => {}
                    }
                    drop(permit);
                });
            }
            (Ok(_), Err(error)) => pause(service, &error).await,
            // Only a closed semaphore refuses, and nobody closes this one.
            (Err(_), _) => return,
        }
    }
}

/// Answers datagrams for ever.
///
/// A datagram from one of these services' own ports is not answered: its sender would answer in turn, and a
/// forged one could set two services talking to each other without end.
pub(crate) async fn serve_udp<D: Datagrams>(socket: D, service: Service) {
    let lines = Lines::new();
    let mut buffer = vec![0; u16::MAX.into()];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((_, from)) if Service::ALL.iter().any(|s| s.port() == from.port()) => {}
            Ok((length, from)) => {
                if let Some(answer) = service.answer(&buffer[..length], &lines)
                    && let Err(error) = socket.send_to(answer, from).await
                {
                    tracing::debug!(service = service.name(), %from, %error, "answer not sent");
                }
            }
            Err(error) => pause(service, &error).await,
        }
    }
}

/// After an error the loop goes on, but does not spin on one that stays.
async fn pause(service: Service, error: &io::Error) {
    tracing::warn!(service = service.name(), %error, "accept or receive failed; trying again");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Sends everything back, then ends its direction when the peer has ended its own.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; FIRST_BUFFER];
    loop {
        match read_growing(&mut stream, &mut buffer).await? {
            0 => return stream.shutdown().await,
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn discard<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; FIRST_BUFFER];
    while read_growing(&mut stream, &mut buffer).await? > 0 {}
    stream.shutdown().await
}

/// Writes until the peer is gone. What it sends is thrown away; that it ends its direction ends nothing.
async fn chargen<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let throw_away = async {
        let mut buffer = vec![0; FIRST_BUFFER];
        while read_growing(&mut reader, &mut buffer).await? > 0 {}
        std::future::pending::<io::Result<()>>().await
    };
    let write = async {
        let lines = Lines::new();
        loop {
            writer.write_all(&lines.0).await?;
        }
    };
    tokio::select! {
        ended = throw_away => ended,
        ended = write => ended,
    }
}

async fn read_growing<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    let length = stream.read(buffer).await?;
    if length == buffer.len() && length < LARGEST_BUFFER {
        buffer.resize(length * 4, 0);
    }
    Ok(length)
}

/// Chargen's pattern once round: 95 lines, after which it repeats.
struct Lines(Vec<u8>);

impl Lines {
    fn new() -> Self {
        let line = |first: u8| {
            (0..LINE as u8)
                .map(move |column| b' ' + (first + column) % PRINTABLE)
                .chain(*b"\r\n")
        };
        Self((0..PRINTABLE).flat_map(line).collect())
    }

    /// Up to 512 characters (RFC 864), as many as the datagram had but at least a line: a forged sender
    /// address must not turn a small packet into a large one.
    fn answer_to(&self, length: usize) -> &[u8] {
        &self.0[..length.clamp(LINE + 2, 512)]
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream, UdpSocket};
    use tokio::time::timeout;

    use super::*;

    impl Listener for TcpListener {
        type Stream = TcpStream;
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            TcpListener::accept(self).await
        }
    }

    impl Datagrams for UdpSocket {
        async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            UdpSocket::recv_from(self, buffer).await
        }
        async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
            UdpSocket::send_to(self, datagram, to).await
        }
    }

    async fn connected(service: Service) -> (TcpStream, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve_tcp(listener, service, stopped));
        (TcpStream::connect(addr).await.unwrap(), stop)
    }

    async fn udp(service: Service) -> UdpSocket {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server.local_addr().unwrap()).await.unwrap();
        tokio::spawn(serve_udp(server, service));
        client
    }

    #[tokio::test]
    async fn tcp_echo_returns_every_byte_and_then_the_end() {
        let (stream, _stop) = connected(Service::Echo).await;
        let (mut reader, mut writer) = stream.into_split();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        assert!(
            got == expected,
            "{} of {} bytes came back as they were",
            got.len(),
            expected.len()
        );
    }

    #[tokio::test]
    async fn an_open_connection_ends_when_the_service_is_stopped() {
        let (mut stream, stop) = connected(Service::Echo).await;
        let mut got = [0; 4];
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut got).await.unwrap();
        stop.send_replace(true);
        assert_eq!(
            timeout(Duration::from_secs(5), stream.read(&mut got))
                .await
                .unwrap()
                .unwrap(),
            0
        );
    }

    #[tokio::test]
    async fn tcp_discard_takes_all_and_says_nothing() {
        let (mut stream, _stop) = connected(Service::Discard).await;
        stream.write_all(&vec![1; 1_000_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        assert_eq!(stream.read_to_end(&mut got).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn tcp_chargen_goes_on_after_the_client_has_ended_its_side() {
        let (mut stream, _stop) = connected(Service::Chargen).await;
        stream.write_all(b"ignored").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = vec![0; 100 * 74];
        stream.read_exact(&mut got).await.unwrap();
        assert!(got.starts_with(b" !\"#$%&'()*+,-./0123456789"));
        assert_eq!(&got[72..76], b"\r\n!\"");
        assert_eq!(
            got[95 * 74..],
            got[..5 * 74],
            "the pattern repeats after 95 lines"
        );
    }

    #[tokio::test]
    async fn udp_echo_returns_the_datagram_an_empty_one_too() {
        let client = udp(Service::Echo).await;
        for datagram in [&b"hello"[..], b""] {
            client.send(datagram).await.unwrap();
            let mut got = [0; 64];
            let length = timeout(Duration::from_secs(5), client.recv(&mut got))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(&got[..length], datagram);
        }
    }

    #[tokio::test]
    async fn udp_chargen_answers_with_a_line_at_least_and_512_characters_at_most() {
        let client = udp(Service::Chargen).await;
        for (asked, answered) in [(0, 74), (1, 74), (200, 200), (1400, 512)] {
            client.send(&vec![b'x'; asked]).await.unwrap();
            let mut got = [0; 2048];
            let length = timeout(Duration::from_secs(5), client.recv(&mut got))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(length, answered, "to a datagram of {asked}");
        }
    }

    #[tokio::test]
    async fn udp_discard_does_not_answer() {
        let client = udp(Service::Discard).await;
        client.send(b"anything").await.unwrap();
        let mut got = [0; 8];
        assert!(
            timeout(Duration::from_millis(200), client.recv(&mut got))
                .await
                .is_err()
        );
    }

    /// Datagrams that come from one of the services' ports, then nothing; remembers what was answered.
    struct FromPort(std::sync::Mutex<Vec<u16>>, std::sync::Mutex<Vec<u16>>);

    impl Datagrams for Arc<FromPort> {
        async fn recv_from(&self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            let next = self.0.lock().unwrap().pop();
            match next {
                Some(port) => Ok((1, ([198, 18, 0, 1], port).into())),
                None => std::future::pending().await,
            }
        }
        async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
            self.1.lock().unwrap().push(to.port());
            Ok(datagram.len())
        }
    }

    #[tokio::test]
    async fn udp_services_do_not_answer_each_other() {
        let socket = Arc::new(FromPort(vec![19, 40_000, 9, 7].into(), Vec::new().into()));
        let server = serve_udp(socket.clone(), Service::Echo);
        assert!(timeout(Duration::from_millis(100), server).await.is_err());
        assert_eq!(*socket.1.lock().unwrap(), [40_000]);
    }
}
