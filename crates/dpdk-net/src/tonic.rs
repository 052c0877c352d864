//! gRPC: tonic's server takes our connections. `tonic::Request::remote_addr` and `local_addr` tell both ends, as over the kernel.

use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::net::TcpStream;

impl Connected for TcpStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.local_addr().ok(),
            remote_addr: self.peer_addr().ok(),
        }
    }
}
