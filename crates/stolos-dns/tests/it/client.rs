//! A DNS client, and a directory that is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use jiff::{SignedDuration, Timestamp};
use stolos_core::network::traffic::ProfileId;
use stolos_core::network::traffic::profile::ProviderProfile;
use stolos_dns::{Directory, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// A wait that only a broken build reaches.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, who answers from it, and where.
pub(crate) struct Served {
    pub(crate) directory: Directory,
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn id() -> ProfileId {
    ProfileId { resource_group: "rg".to_owned(), name: "fleet-uid".to_owned() }
}

/// The profile of `app-shop.fleet.local`, checked in this way.
pub(crate) fn profile(monitor: serde_json::Value) -> ProviderProfile {
    ProviderProfile {
        relative_name: "app-shop".to_owned(),
        ttl_seconds: 60,
        location: "global".to_owned(),
        is_enabled: true,
        routing_method: "Weighted".to_owned(),
        monitor: serde_json::from_value(monitor).unwrap(),
        tags: std::collections::BTreeMap::new(),
    }
}

/// The id of an address as members tell it.
pub(crate) fn address(address: &str) -> String {
    format!(
        "/subscriptions/stolos/resourceGroups/east/providers/Microsoft.Network/publicIPAddresses/{address}"
    )
}

impl Served {
    /// Serves an empty directory that is complete.
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(Timestamp::now);
        let directory = Directory::new("fleet.local".parse().unwrap(), None, clock);
        directory.begin(SignedDuration::ZERO);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address();
        let serving = tokio::spawn(listener.serve(directory.clone()));
        Self { directory, address, serving }
    }

    /// Puts endpoints with these addresses and weights behind `app-shop`.
    pub(crate) fn fill(&self, monitor: serde_json::Value, endpoints: &[(&str, i64)]) {
        self.directory.put_profile(&id(), &profile(monitor)).unwrap();
        for (one, weight) in endpoints {
            self.directory.put_endpoint(&id(), one, &address(one), *weight).unwrap();
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.connect(self.address).await.unwrap();
        Client { udp, server: self.address, id: 0 }
    }
}

pub(crate) struct Client {
    udp: UdpSocket,
    server: SocketAddr,
    id: u16,
}

impl Client {
    pub(crate) fn query(&mut self, name: &str, record_type: RecordType) -> Message {
        self.id = self.id.wrapping_add(1);
        let mut query = Message::new(self.id, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        query
    }

    /// Asks over UDP.
    pub(crate) async fn udp(&mut self, name: &str, record_type: RecordType) -> Message {
        let query = self.query(name, record_type);
        self.udp.send(&query.to_vec().unwrap()).await.unwrap();
        let mut buffer = [0; 1500];
        let received = tokio::time::timeout(PATIENCE, self.udp.recv(&mut buffer));
        let length = received.await.expect("an answer").unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
        answer
    }

    /// Asks over TCP.
    pub(crate) async fn tcp(&mut self, name: &str, record_type: RecordType) -> Message {
        let query = self.query(name, record_type);
        let mut stream = TcpStream::connect(self.server).await.unwrap();
        send(&mut stream, &query.to_vec().unwrap()).await;
        receive(&mut stream).await.expect("an answer")
    }

    /// Returns the address that `app-shop` is answered with.
    pub(crate) async fn address(&mut self) -> Option<String> {
        let answer = self.udp("app-shop.fleet.local.", RecordType::A).await;
        answer.answers.first().map(|record| match &record.data {
            RData::A(address) => address.to_string(),
            other => panic!("no address: {other}"),
        })
    }
}

pub(crate) async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[length.as_slice(), bytes].concat()).await.unwrap();
}

/// Returns the next message, or nothing if the connection ends.
pub(crate) async fn receive(stream: &mut TcpStream) -> Option<Message> {
    let read = async {
        let length = stream.read_u16().await.ok()?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.ok()?;
        Some(Message::from_vec(&bytes).unwrap())
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer or the end")
}
