//! A real DNS server over UDP and TCP, that can be told to be silent, to truncate and to fail.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CAA, CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

pub(super) const TTL_S: u32 = 77;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Tcp,
    Udp,
}

pub(super) enum Reply {
    Code(ResponseCode),
    Records(Vec<Record>),
    Silence,
    /// The header alone, with the bit that says that there is more.
    Truncated,
}

type Asked = (String, RecordType, Over);

pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl NameServer {
    /// Answers by `reply`, which gets the name in lower case without its final dot.
    pub(super) async fn start(reply: impl Fn(&str, RecordType, Over) -> Reply + Send + Sync + 'static) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let answer = {
            let log = log.clone();
            Arc::new(move |query: &[u8], over| answer(query, over, &log, &reply))
        };
        let over_udp = answer.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = udp.recv_from(&mut buffer).await {
                if let Some(message) = over_udp(&buffer[..len], Over::Udp) {
                    udp.send_to(&message, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    while let Ok(len) = stream.read_u16().await {
                        let mut query = vec![0; len.into()];
                        stream.read_exact(&mut query).await.unwrap();
                        if let Some(message) = answer(&query, Over::Tcp) {
                            stream.write_u16(message.len().try_into().unwrap()).await.unwrap();
                            stream.write_all(&message).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { address, log }
    }

    /// Answers from `records`, as a recursive server does: aliases followed, NXDOMAIN only where nothing is below.
    pub(super) async fn with(records: Vec<Record>) -> Self {
        Self::start(move |name, kind, _| look_up(&records, name, kind)).await
    }

    /// What was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }
}

pub(super) fn look_up(records: &[Record], name: &str, kind: RecordType) -> Reply {
    let mut at = text_of(&name.parse().unwrap());
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    while seen.insert(at.clone()) {
        let here: Vec<&Record> = records.iter().filter(|record| text_of(&record.name) == at).collect();
        found.extend(
            here.iter()
                .filter(|record| record.record_type() == kind)
                .map(|it| (*it).clone()),
        );
        let Some(alias) = here.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record, text_of(&target.0))),
            _ => None,
        }) else {
            break;
        };
        found.push((*alias.0).clone());
        at = alias.1;
    }
    let below = format!(".{at}");
    let exists = records
        .iter()
        .map(|record| text_of(&record.name))
        .any(|other| other == at || other.ends_with(&below));
    if found.is_empty() && !exists {
        return Reply::Code(ResponseCode::NXDomain);
    }
    Reply::Records(found)
}

fn text_of(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn answer(
    query: &[u8],
    over: Over,
    log: &Mutex<Vec<Asked>>,
    reply: &impl Fn(&str, RecordType, Over) -> Reply,
) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let name = text_of(question.name());
    log.lock().unwrap().push((name.clone(), question.query_type(), over));
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(question.clone());
    match reply(&name, question.query_type(), over) {
        Reply::Silence => return None,
        Reply::Truncated => message.metadata.truncation = true,
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::Records(records) => {
            message.add_answers(records);
        }
    }
    Some(message.to_vec().unwrap())
}

fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(format!("{name}.")).unwrap(), TTL_S, data)
}

pub(super) fn address(name: &str, address: &str) -> Record {
    match address.parse().unwrap() {
        IpAddr::V4(v4) => record(name, RData::A(A(v4))),
        IpAddr::V6(v6) => record(name, RData::AAAA(AAAA(v6))),
    }
}

pub(super) fn txt(name: &str, value: &str) -> Record {
    record(name, RData::TXT(TXT::from_bytes(vec![value.as_bytes()])))
}

/// A TXT record of several strings.
pub(super) fn txt_in_parts(name: &str, parts: &[&str]) -> Record {
    record(
        name,
        RData::TXT(TXT::from_bytes(parts.iter().map(|part| part.as_bytes()).collect())),
    )
}

pub(super) fn alias(name: &str, target: &str) -> Record {
    record(
        name,
        RData::CNAME(CNAME(Name::from_ascii(format!("{target}.")).unwrap())),
    )
}

pub(super) fn caa(name: &str, tag: &str, value: &str) -> Record {
    let mut caa = CAA::new_issue(false, None, Vec::new());
    caa.tag = tag.to_owned();
    caa.value = value.as_bytes().to_vec();
    record(name, RData::CAA(caa))
}
