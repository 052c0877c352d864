//! RFC 4862: IPv6 Stateless Address Autoconfiguration
//!
//! Shown elsewhere:
//! - 5.4 MUST: addresses are probed before they are used | `addresses_are_probed_then_used_then_announced`
//! - 5.4.3 MUST: another's probe for an address of ours is answered | `a_solicitation_is_answered_to_the_asker_and_a_probe_to_all`
//! - 5.4.5 MUST NOT: an address that somebody has is used | `an_address_that_somebody_has_is_not_used`
