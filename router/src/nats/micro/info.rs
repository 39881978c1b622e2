//! What an instance of a NATS service says of itself, and the functions that it makes of it.
//!
//! Of the service counts its `version`; of an endpoint `subject`, `queue_group` and of `metadata`
//! `mpreg.function`, `mpreg.id`, `mpreg.resources`, `mpreg.concurrency`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use mpreg_fabric::function::Registration;
use mpreg_proto::function::{FunctionId, FunctionName, Resources, Version};
use mpreg_proto::topic::{Dialect, Pattern};
use serde::Deserialize;

use crate::limits::NATS_CONCURRENCY;

const TYPE: &str = "io.nats.micro.v1.info_response";

/// Members of a queue group that no endpoint names, by the convention.
const GROUP: &str = "q";

#[derive(Deserialize)]
struct Info {
    r#type: String,
    name: String,
    id: String,
    version: String,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    subject: String,
    queue_group: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

/// An endpoint, and what is to be registered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) subject: String,
    /// Empty: none.
    pub(super) group: String,
    pub(super) registration: Result<Registration, String>,
}

/// The endpoints of the instance `name` and `id`.
pub(super) fn read(json: &[u8], name: &str, id: &str) -> Result<Vec<Offered>, String> {
    let info: Info = serde_json::from_slice(json).map_err(|why| why.to_string())?;
    if info.r#type != TYPE {
        return Err(format!("{:?} is not {TYPE}", info.r#type));
    }
    if (&*info.name, &*info.id) != (name, id) {
        return Err(format!("it says that it is {:?} {:?}", info.name, info.id));
    }
    let version = info.version.parse::<Version>().map_err(|why| why.to_string());
    let endpoints = info.endpoints.unwrap_or_default().into_iter();
    Ok(endpoints.map(|endpoint| offered(endpoint, &version)).collect())
}

fn offered(endpoint: Endpoint, version: &Result<Version, String>) -> Offered {
    let registration = version.clone().and_then(|version| registration(&endpoint, version));
    let Endpoint { subject, queue_group, .. } = endpoint;
    Offered { subject, group: queue_group.unwrap_or_else(|| GROUP.to_owned()), registration }
}

fn registration(endpoint: &Endpoint, version: Version) -> Result<Registration, String> {
    let pattern = Pattern::parse_as(endpoint.subject.as_bytes(), Dialect::Nats);
    if !pattern.is_ok_and(Pattern::is_literal) {
        return Err("its subject has wildcards, or is none".to_owned());
    }
    let said = |key: &str| endpoint.metadata.as_ref()?.get(key).map(String::as_str);
    let name = said("mpreg.function").unwrap_or(&endpoint.subject);
    let name: FunctionName = name.parse().map_err(|why| format!("{why}"))?;
    let resources = said("mpreg.resources").unwrap_or_default().split(',').map(str::trim);
    let resources = Resources::new(resources.filter(|name| !name.is_empty()));
    let limit = match said("mpreg.concurrency") {
        Some(text) => text.parse::<NonZeroU32>().map_err(|why| format!("{text:?}: {why}"))?,
        None => NATS_CONCURRENCY,
    };
    Ok(Registration {
        id: FunctionId::of(said("mpreg.id").unwrap_or(name.as_str())),
        name,
        version,
        resources: resources.map_err(|why| why.to_string())?,
        limit,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(endpoint: &str) -> Vec<u8> {
        format!(
            r#"{{"type":"{TYPE}","name":"sums","id":"I1","version":"1.2.3","description":null,
            "metadata":{{}},"endpoints":[{endpoint}]}}"#
        )
        .into_bytes()
    }

    fn one(endpoint: &str) -> Offered {
        read(&info(endpoint), "sums", "I1").unwrap().remove(0)
    }

    #[test]
    fn an_endpoint_is_a_function() {
        let plain = one(r#"{"name":"add","subject":"sums.add","queue_group":"w","metadata":null}"#);
        assert_eq!((&*plain.subject, &*plain.group), ("sums.add", "w"));
        let registration = plain.registration.unwrap();
        assert_eq!(registration.name.as_str(), "sums.add");
        assert_eq!(registration.id, FunctionId::of("sums.add"));
        assert_eq!(registration.version.to_string(), "1.2.3");
        assert_eq!(
            (registration.limit, registration.resources.names().len()),
            (NATS_CONCURRENCY, 0)
        );
        let told = one(r#"{"name":"add","subject":"add.1","metadata":{"mpreg.function":"math.add",
            "mpreg.id":"adder","mpreg.resources":"gpu, ram","mpreg.concurrency":"3","other":"x"}}"#);
        assert_eq!((&*told.subject, &*told.group), ("add.1", "q"));
        let registration = told.registration.unwrap();
        assert_eq!(registration.name.as_str(), "math.add");
        assert_eq!(registration.id, FunctionId::of("adder"));
        assert_eq!(registration.resources, Resources::new(["gpu", "ram"]).unwrap());
        assert_eq!(registration.limit.get(), 3);
    }

    #[test]
    fn what_makes_no_function_says_why() {
        for (endpoint, said) in [
            (r#"{"subject":"a.*","metadata":{"mpreg.function":"a"}}"#, "wildcards"),
            (r#"{"subject":"$a"}"#, "letters"),
            (r#"{"subject":"a","metadata":{"mpreg.concurrency":"0"}}"#, "\"0\""),
            (r#"{"subject":"a","metadata":{"mpreg.resources":"a b"}}"#, "resource"),
        ] {
            let why = one(endpoint).registration.unwrap_err();
            assert!(why.contains(said), "{endpoint}: {why}");
        }
        let odd = String::from_utf8(info(r#"{"subject":"a"}"#)).unwrap().replace("1.2.3", "one");
        assert!(read(odd.as_bytes(), "sums", "I1").unwrap()[0].registration.is_err());
        assert!(read(&info(""), "other", "I1").unwrap_err().contains("sums"));
        assert!(read(&info(""), "sums", "I2").is_err());
        let stats = String::from_utf8(info("")).unwrap().replace("info_", "stats_");
        assert!(read(stats.as_bytes(), "sums", "I1").unwrap_err().contains("stats"));
        assert_eq!(read(&info(""), "sums", "I1"), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let read = read(&bytes, "sums", "I1");
            prop_assert!(read.is_err());
        }
    }
}
