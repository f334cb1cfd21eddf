//! The answer to one query.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use stolos_core::network::traffic::{Question, Target};

use crate::Directory;
use crate::directory::Answer;

#[cfg(test)]
mod tests;

/// Longest query that is read: a name has 255 bytes, and nobody needs more than some options besides.
pub(crate) const MAX_QUERY: usize = 4096;

/// Bytes of an answer over UDP at most, so that no network takes it apart (the number of DNS Flag Day 2020).
pub(crate) const MAX_UDP: u16 = 1232;

/// Bytes that an answer over UDP may have if the query says nothing (RFC 1035, section 4.2.1).
const PLAIN_UDP: u16 = 512;

/// Bytes of the header of a message.
const HEADER: usize = 12;

/// Seconds for which it may be kept that a name or a type of record does not exist. Short, as names come and go with
/// objects.
const NEGATIVE_TTL: u32 = 10;

/// Seconds for which records of the zone itself may be kept.
const ZONE_TTL: u32 = 3600;

/// Times of the SOA record. Nobody gets copies of the zone, so nobody goes by them.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 86_400;

/// Relative name of the name server.
const NAMESERVER: &str = "ns";

/// What a query came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection.
    Tcp,
}

/// Returns the answer to a query; none to what is not one, so that two servers never talk to each other for ever.
///
/// `random` is a number that any value is as likely for as any other.
#[must_use]
pub(crate) fn respond(
    bytes: &[u8],
    directory: &Directory,
    transport: Transport,
    random: u64,
) -> Option<Vec<u8>> {
    let [high, low, flags, ..] = *bytes else { return None };
    let is_response = flags & 0x80 != 0;
    if bytes.len() < HEADER || bytes.len() > MAX_QUERY || is_response {
        return None;
    }
    let id = u16::from_be_bytes([high, low]);
    let Ok(query) = Message::from_vec(bytes) else {
        return encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
    };
    let answer = answer(&query, directory, random);
    let room = match (&query.edns, transport) {
        (_, Transport::Tcp) => u16::MAX,
        (None, Transport::Udp) => PLAIN_UDP,
        (Some(edns), Transport::Udp) => edns.max_payload().clamp(PLAIN_UDP, MAX_UDP),
    };
    let encoded = encode(&answer)?;
    if encoded.len() <= usize::from(room) { Some(encoded) } else { encode(&answer.truncate()) }
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

fn answer(query: &Message, directory: &Directory, random: u64) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP);
        answer.set_edns(edns);
        if asked.version() > 0 {
            answer.metadata.response_code = ResponseCode::BADVERS;
            return answer;
        }
    }
    if query.metadata.op_code != OpCode::Query {
        answer.metadata.response_code = ResponseCode::NotImp;
        return answer;
    }
    let [question] = query.queries.as_slice() else {
        answer.metadata.response_code = ResponseCode::FormErr;
        return answer;
    };
    answer.add_query(question.clone());
    Zone::new(directory).answer(question, random, &mut answer);
    answer
}

/// The zone as its records tell it.
struct Zone<'a> {
    directory: &'a Directory,
    name: Option<Name>,
}

impl<'a> Zone<'a> {
    fn new(directory: &'a Directory) -> Self {
        Self { directory, name: name(&directory.zone().to_string()) }
    }

    fn answer(&self, question: &Query, random: u64, answer: &mut Message) {
        let labels = labels(question.name());
        let relative = self.directory.zone().relative(&labels);
        let is_copy = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
        let Some(relative) =
            relative.filter(|_| question.query_class() == DNSClass::IN && !is_copy)
        else {
            answer.metadata.response_code = ResponseCode::Refused;
            return;
        };
        answer.metadata.authoritative = true;
        match relative {
            [] => self.answer_apex(question, answer),
            [name] if name == NAMESERVER => self.answer_nameserver(question, answer),
            [name] => self.answer_name(name, question, random, answer),
            [..] => self.deny(ResponseCode::NXDomain, answer),
        }
    }

    fn answer_apex(&self, question: &Query, answer: &mut Message) {
        let record = match question.query_type() {
            RecordType::SOA | RecordType::ANY => self.soa(ZONE_TTL),
            RecordType::NS => self.ns(),
            _ => None,
        };
        match record {
            Some(record) => drop(answer.add_answer(record)),
            None => self.deny(ResponseCode::NoError, answer),
        }
    }

    fn answer_nameserver(&self, question: &Query, answer: &mut Message) {
        let data = match (self.directory.nameserver(), question.query_type()) {
            (Some(IpAddr::V4(address)), RecordType::A | RecordType::ANY) => RData::A(A(address)),
            (Some(IpAddr::V6(address)), RecordType::AAAA | RecordType::ANY) => {
                RData::AAAA(AAAA(address))
            }
            _ => return self.deny(ResponseCode::NoError, answer),
        };
        answer.add_answer(Record::from_rdata(question.name().clone(), ZONE_TTL, data));
    }

    fn answer_name(&self, relative: &str, question: &Query, random: u64, answer: &mut Message) {
        let questions: &[Question] = match question.query_type() {
            RecordType::A => &[Question::V4],
            RecordType::AAAA => &[Question::V6],
            RecordType::CNAME => &[Question::Alias],
            // One of the records is enough (RFC 8482).
            RecordType::ANY => &[Question::V4, Question::V6],
            _ => &[],
        };
        match self.directory.answer(relative, questions, random) {
            Answer::Target(target, ttl) => match data(&target) {
                Some(data) => {
                    answer.add_answer(Record::from_rdata(question.name().clone(), ttl, data));
                }
                None => answer.metadata.response_code = ResponseCode::ServFail,
            },
            Answer::Nothing => self.deny(ResponseCode::NoError, answer),
            Answer::NoName => self.deny(ResponseCode::NXDomain, answer),
            Answer::NotYet => {
                answer.metadata.authoritative = false;
                answer.metadata.response_code = ResponseCode::ServFail;
            }
        }
    }

    /// Says that there is nothing, and for how long that may be kept (RFC 2308, section 3).
    fn deny(&self, code: ResponseCode, answer: &mut Message) {
        answer.metadata.response_code = code;
        if let Some(soa) = self.soa(NEGATIVE_TTL) {
            answer.add_authority(soa);
        }
    }

    fn soa(&self, ttl: u32) -> Option<Record> {
        let zone = self.directory.zone();
        let (server, mailbox) = (zone.name_of(NAMESERVER), zone.name_of("hostmaster"));
        let serial = self.directory.serial();
        let (server, mailbox) = (name(&server)?, name(&mailbox)?);
        let soa = SOA::new(server, mailbox, serial, REFRESH, RETRY, EXPIRE, NEGATIVE_TTL);
        Some(Record::from_rdata(self.name.clone()?, ttl, RData::SOA(soa)))
    }

    fn ns(&self) -> Option<Record> {
        let server = name(&self.directory.zone().name_of(NAMESERVER))?;
        Some(Record::from_rdata(self.name.clone()?, ZONE_TTL, RData::NS(NS(server))))
    }
}

fn data(target: &Target) -> Option<RData> {
    Some(match target {
        Target::V4(address) => RData::A(A(*address)),
        Target::V6(address) => RData::AAAA(AAAA(*address)),
        Target::Host(host) => RData::CNAME(CNAME(name(host)?)),
    })
}

fn name(text: &str) -> Option<Name> {
    Name::from_ascii(format!("{text}.")).ok()
}

/// Returns the labels of a name in lower case. What is no text becomes something that no name of ours is.
fn labels(name: &Name) -> Vec<String> {
    name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect()
}
