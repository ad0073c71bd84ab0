//! The words of the golden scripts, and how they become commands.
//!
//! ```text
//! put NAME LIMIT=RULE... [max_waiting=N max_wait=T ttl=T max_ttl=T] [if=absent|present|VERSION] [id=REQUEST]
//!     [claim=N [token=N]]: only under this claim      [claim_within=T]: the `claim_ms` of its queue
//! patch NAME [LIMIT=CHANGE|null ...] [queue=null lease=null max_waiting=N|null ...] [if=...] [id=REQUEST]
//! delete NAME [if=...] [id=REQUEST]
//! acquire NAME [load=N|DIM.N/DIM.N] [wait=T] [prio=N] [ttl=T] [key=REQUEST] [meta.NAME=VALUE]
//! call NAME [call=N] [as acquire]: in a call of this number      attend KEY N      detach KEY N      raise LEVEL
//! release KEY [used=LOAD]      extend KEY [ttl=T]      keepalive KEY...      tick
//! claim NAME PLACEMENT [after=N]      unclaim NAME NUMBER [token=N]      fence NAME NUMBER
//! ```
//! `RULE` is `window/10/60s`, `bucket/10/60s`, `concurrency/2` or `rate/10/60s`, and then fields:
//! `/burst.5`, `/cost.input`, `/true_up.none`. `CHANGE` is fields: `quota.20/burst.null`. A lease
//! is named by the key of its request.

pub mod print;

use std::collections::BTreeMap;
use std::error::Error;

use goldenscript::{Argument, ArgumentConsumer};
use ratequeue_limiter::{
    Acquire, Algorithm, ClaimName, Command, Condition, Cost, DeleteResource, FenceClaims, Kind,
    LeasePatch, LeaseSpec, LimitDraft, LimitName, LimitPatch, Load, LogTime, Metadata, Patch,
    PatchResource, Placement, PutClaimed, PutResource, QueuePatch, QueueSpec, RequestId,
    ResourceName, ResourcePatch, ResourceSpec, TrueUp, TtlMs, UnclaimName,
};
use serde::de::{DeserializeOwned, IntoDeserializer};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `90s`, `2.5ms`, `7us`, `1m`, `31d` as microseconds.
pub fn time_us(text: &str) -> Result<u64> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(|| format!("a time without unit: {text}"))?;
    let (number, unit) = text.split_at(split);

    let unit_us: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "d" => 86_400_000_000,
        _ => return Err(format!("no unit of time: {unit}").into()),
    };

    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let mut us = whole.parse::<u64>()? * unit_us;
    let mut place_us = unit_us;

    for digit in part.chars() {
        place_us /= 10;
        us += u64::from(digit.to_digit(10).ok_or("not a digit")?) * place_us;
    }

    Ok(us)
}

fn time_ms(text: &str) -> Result<u64> {
    Ok(time_us(text)? / 1000)
}

/// A time of the log.
pub fn log_time(text: &str) -> Result<LogTime> {
    Ok(LogTime(time_us(text)?))
}

/// `10`, or `input.12/output.5`.
fn load(text: &str) -> Result<Load> {
    if let Ok(number) = text.parse() {
        return Ok(Load::Scalar(number));
    }
    let mut map = BTreeMap::new();
    for part in text.split('/') {
        let (dimension, number) = part.split_once('.').ok_or_else(|| format!("no load: {text}"))?;
        map.insert(LimitName::new(dimension)?, number.parse()?);
    }
    Ok(Load::Map(map))
}

fn kind(text: &str) -> Result<(Kind, Option<Algorithm>)> {
    Ok(match text {
        "window" => (Kind::Rate, Some(Algorithm::SlidingWindow)),
        "bucket" => (Kind::Rate, Some(Algorithm::TokenBucket)),
        "rate" => (Kind::Rate, None),
        "concurrency" => (Kind::Concurrency, None),
        _ => return Err(format!("no kind of limit: {text}").into()),
    })
}

fn cost(text: &str) -> Result<Cost> {
    Ok(match text {
        "one" => Cost::One,
        "load" => Cost::Load,
        dimension => Cost::Dimension(LimitName::new(dimension)?),
    })
}

fn true_up(text: &str) -> Result<TrueUp> {
    Ok(match text {
        "both" => TrueUp::Both,
        "debit_only" => TrueUp::DebitOnly,
        "none" => TrueUp::None,
        _ => return Err(format!("no true_up: {text}").into()),
    })
}

fn set<T>(text: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Patch<T>> {
    if text == "null" { Ok(Patch::Reset) } else { Ok(Patch::Set(parse(text)?)) }
}

fn number<T: std::str::FromStr<Err: Error + 'static>>(text: &str) -> Result<T> {
    Ok(text.parse()?)
}

/// `quota.20/burst.null`
fn limit_patch(text: &str) -> Result<LimitPatch> {
    let mut patch = LimitPatch::default();
    for part in text.split('/') {
        let (field, value) = part.split_once('.').ok_or_else(|| format!("no field: {part}"))?;
        match field {
            "kind" => {
                let (kind, algorithm) = kind(value)?;
                patch.kind = Patch::Set(kind);
                patch.algorithm = algorithm.map_or(Patch::Keep, Patch::Set);
            }
            "algorithm" => {
                patch.algorithm =
                    set(value, |text| kind(text)?.1.ok_or_else(|| "no algorithm".into()))?
            }
            "quota" => patch.quota = set(value, number)?,
            "window" => patch.window_ms = set(value, time_ms)?,
            "burst" => patch.burst = set(value, number)?,
            "cost" => patch.cost = set(value, cost)?,
            "true_up" => patch.true_up = set(value, true_up)?,
            _ => return Err(format!("no field of a limit: {field}").into()),
        }
    }

    Ok(patch)
}

/// `window/10/60s/cost.one`; the quota and the window may be left out.
fn limit_draft(text: &str) -> Result<LimitDraft> {
    let mut parts = text.split('/').peekable();
    let (kind, algorithm) = kind(parts.next().unwrap_or_default())?;
    let mut draft = LimitDraft { kind: Some(kind), algorithm, ..LimitDraft::default() };
    draft.quota = parts.next_if(|part| !part.contains('.')).map(number).transpose()?;
    draft.window_ms = parts.next_if(|part| !part.contains('.')).map(time_ms).transpose()?;

    for part in parts {
        let (field, value) = part.split_once('.').ok_or_else(|| format!("no field: {part}"))?;
        match field {
            "window" => draft.window_ms = Some(time_ms(value)?),
            "burst" => draft.burst = Some(number(value)?),
            "cost" => draft.cost = Some(cost(value)?),
            "true_up" => draft.true_up = Some(true_up(value)?),
            "algorithm" => draft.algorithm = self::kind(value)?.1,
            _ => return Err(format!("no field of a limit: {field}").into()),
        }
    }

    Ok(draft)
}

fn condition(args: &mut ArgumentConsumer<'_>) -> Result<Condition> {
    Ok(match args.lookup("if").map(|arg| arg.value.as_str()) {
        None => Condition::Any,
        Some("absent") => Condition::Absent,
        Some("present") => Condition::Present,
        Some(version) => Condition::Version(version.parse()?),
    })
}

fn take<'a>(args: &mut ArgumentConsumer<'a>, key: &str) -> Option<&'a str> {
    args.lookup(key).map(|arg| arg.value.as_str())
}

fn resource(args: &mut ArgumentConsumer<'_>) -> Result<ResourceName> {
    Ok(ResourceName::new(&args.next_pos().ok_or("which resource?")?.value)?)
}

/// The request id of a change: the one given, or one of its own.
fn request(args: &mut ArgumentConsumer<'_>, serial: u64) -> Result<RequestId> {
    Ok(RequestId::new(&take(args, "id").map_or_else(|| format!("change-{serial}"), str::to_owned))?)
}

/// A put; the error is what is wrong with the resource.
pub fn put(args: &mut ArgumentConsumer<'_>, serial: u64) -> Result<PutResource> {
    let (resource, request, condition) =
        (resource(args)?, request(args, serial)?, condition(args)?);
    let (mut queue, mut lease) = (QueueSpec::default(), LeaseSpec::default());

    for (key, field) in [
        ("max_wait", &mut queue.max_wait_ms),
        ("claim_within", &mut queue.claim_ms),
        ("ttl", &mut lease.default_ttl_ms),
        ("max_ttl", &mut lease.max_ttl_ms),
    ] {
        *field = take(args, key).map(time_ms).transpose()?.unwrap_or(*field);
    }

    queue.max_waiting =
        take(args, "max_waiting").map(number).transpose()?.unwrap_or(queue.max_waiting);
    let mut limits = BTreeMap::new();
    for arg in args.rest_key() {
        limits.insert(limit_name(arg)?, limit_draft(&arg.value)?);
    }

    Ok(PutResource { request, resource, spec: ResourceSpec::new(limits, queue, lease)?, condition })
}

/// The claim, and the fencing token, of a put that needs one.
pub fn claim_of_put(args: &mut ArgumentConsumer<'_>) -> Result<Option<(u64, u64)>> {
    let token = take(args, "token").map(number).transpose()?.unwrap_or(0);
    Ok(take(args, "claim").map(number).transpose()?.map(|claim| (claim, token)))
}

/// A put, under a claim or not.
pub fn under(claim: Option<(u64, u64)>, put: PutResource) -> Command {
    match claim {
        Some((claim, fencing_token)) => {
            Command::PutClaimed(PutClaimed { put, claim, fencing_token })
        }
        None => Command::PutResource(put),
    }
}

pub fn number_next(args: &mut ArgumentConsumer<'_>) -> Result<u64> {
    number(&args.next_pos().ok_or("which number?")?.value)
}

/// A claim.
pub fn claim(args: &mut ArgumentConsumer<'_>) -> Result<ClaimName> {
    let resource = resource(args)?;
    let placement = Placement::new(&args.next_pos().ok_or("for which group?")?.value)?;
    Ok(ClaimName {
        resource,
        placement,
        after: take(args, "after").map(number).transpose()?.unwrap_or(0),
    })
}

/// The end of a claim.
pub fn unclaim(args: &mut ArgumentConsumer<'_>) -> Result<UnclaimName> {
    let (resource, number) = (resource(args)?, number_next(args)?);
    Ok(UnclaimName {
        resource,
        number,
        fencing_token: take(args, "token").map(self::number).transpose()?.unwrap_or(0),
    })
}

/// A fence.
pub fn fence(args: &mut ArgumentConsumer<'_>) -> Result<FenceClaims> {
    Ok(FenceClaims { resource: resource(args)?, number: number_next(args)? })
}

fn limit_name(arg: &Argument) -> Result<LimitName> {
    Ok(LimitName::new(arg.key.as_deref().unwrap_or_default())?)
}

/// A patch.
pub fn patch(args: &mut ArgumentConsumer<'_>, serial: u64) -> Result<PatchResource> {
    let (resource, request, condition) =
        (resource(args)?, request(args, serial)?, condition(args)?);
    let mut patch = ResourcePatch::default();
    let (mut queue, mut lease) = (QueuePatch::default(), LeasePatch::default());

    for arg in args.rest_key() {
        let value = arg.value.as_str();
        match arg.key.as_deref().unwrap_or_default() {
            "max_waiting" => queue.max_waiting = set(value, number)?,
            "max_wait" => queue.max_wait_ms = set(value, time_ms)?,
            "claim_within" => queue.claim_ms = set(value, time_ms)?,
            "ttl" => lease.default_ttl_ms = set(value, time_ms)?,
            "max_ttl" => lease.max_ttl_ms = set(value, time_ms)?,
            "queue" => patch.queue = Patch::Reset,
            "lease" => patch.lease = Patch::Reset,
            _ if value == "null" => _ = patch.limits.insert(limit_name(arg)?, None),
            _ => _ = patch.limits.insert(limit_name(arg)?, Some(limit_patch(value)?)),
        }
    }

    if queue != QueuePatch::default() {
        patch.queue = Patch::Set(queue);
    }

    if lease != LeasePatch::default() {
        patch.lease = Patch::Set(lease);
    }

    Ok(PatchResource { request, resource, patch, condition })
}

/// A delete.
pub fn delete(args: &mut ArgumentConsumer<'_>, serial: u64) -> Result<DeleteResource> {
    Ok(DeleteResource {
        resource: resource(args)?,
        request: request(args, serial)?,
        condition: condition(args)?,
    })
}

/// An acquire.
pub fn acquire(args: &mut ArgumentConsumer<'_>, serial: u64) -> Result<Acquire> {
    let acquire = Acquire {
        resource: resource(args)?,
        request: RequestId::new(
            &take(args, "key").map_or_else(|| format!("k{serial}"), str::to_owned),
        )?,
        load: take(args, "load").map(load).transpose()?.unwrap_or(Load::Scalar(1)),
        priority: logged(take(args, "prio").map(number).transpose()?.unwrap_or(5_u8))?,
        wait_ms: logged(take(args, "wait").map(time_ms).transpose()?.unwrap_or(0))?,
        ttl_ms: ttl(args)?,
        metadata: Metadata::default(),
    };

    let mut metadata = BTreeMap::new();
    for arg in args.rest_key() {
        let name = arg
            .key
            .as_deref()
            .and_then(|key| key.strip_prefix("meta."))
            .ok_or("what is this argument?")?;
        metadata.insert(name.to_owned(), arg.value.clone());
    }

    Ok(Acquire { metadata: logged(metadata)?, ..acquire })
}

/// A value as the log of an old version may hold it: also one that is out of its bounds.
fn logged<T: DeserializeOwned>(
    value: impl IntoDeserializer<'static, serde::de::value::Error>,
) -> Result<T> {
    Ok(T::deserialize(value.into_deserializer())?)
}

/// The `used` of a release.
pub fn used(args: &mut ArgumentConsumer<'_>) -> Result<Option<Load>> {
    take(args, "used").map(load).transpose()
}

/// The `ttl` of an acquire or an extend.
pub fn ttl(args: &mut ArgumentConsumer<'_>) -> Result<Option<TtlMs>> {
    take(args, "ttl").map(|text| logged(time_ms(text)?)).transpose()
}
