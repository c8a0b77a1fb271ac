#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test uses what it needs")]
//! A TURN server in the test's process. It, its relays and the sessions have loopback addresses of their own, so that a
//! test can tell who an address belongs to.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parlor_media::IceServer;
use tokio::net::UdpSocket;
use turn::{
    auth::{AuthHandler, generate_auth_key},
    relay::relay_static::RelayAddressGeneratorStatic,
    server::{
        Server,
        config::{ConnConfig, ServerConfig},
    },
};
use webrtc_util::vnet::net::Net;

const SERVER: &str = "127.0.0.2:0";
/// Where media comes from that a relay carries.
pub const RELAYS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const USER: &str = "user";
const PASSWORD: &str = "secret";

pub struct TurnServer {
    _server: Server,
    pub address: SocketAddr,
}

impl TurnServer {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind(SERVER).await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let relays = RelayAddressGeneratorStatic {
            relay_address: RELAYS,
            address: RELAYS.to_string(),
            net: Arc::new(Net::new(None)),
        };
        let listener = ConnConfig { conn: Arc::new(socket), relay_addr_generator: Box::new(relays) };
        let server = Server::new(ServerConfig {
            conn_configs: vec![listener],
            realm: "test".to_owned(),
            auth_handler: Arc::new(OneUser),
            channel_bind_timeout: Duration::ZERO,
            alloc_close_notify: None,
        })
        .await
        .expect("the server starts");
        Self { _server: server, address }
    }

    pub fn with_password(&self, password: &str) -> IceServer {
        IceServer {
            url: format!("turn:{}?transport=udp", self.address),
            username: USER.to_owned(),
            password: password.to_owned(),
        }
    }

    pub fn credentials(&self) -> IceServer {
        self.with_password(PASSWORD)
    }
}

struct OneUser;

impl AuthHandler for OneUser {
    fn auth_handle(&self, username: &str, realm: &str, _: SocketAddr) -> Result<Vec<u8>, turn::Error> {
        if username == USER { Ok(generate_auth_key(USER, realm, PASSWORD)) } else { Err(turn::Error::ErrNoSuchUser) }
    }
}
