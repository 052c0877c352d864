//! Which VLAN a frame is of.

use dpdk_net_packet::{RxMeta, ethernet};

/// The part of a tag's control information that names the VLAN; 0 is no VLAN but a priority alone.
pub(super) const ID: u16 = 0xfff;

/// The VLAN that a frame is of (IEEE 802.1Q clause 6.9): 0 if it has no tag, or says with one only which priority it has. `None`
/// if it is of a VLAN within another, or of a provider's.
pub(super) fn of(frame: &[u8], meta: &RxMeta) -> Option<u16> {
    let mut vlan = meta.vlan_tci.map_or(0, |tci| tci & ID);
    let mut rest = frame.get(2 * 6..)?;
    while let Some(([t0, t1, c0, c1], behind)) =
        rest.split_first_chunk::<{ ethernet::VLAN_TAG_LEN }>()
    {
        let kind = u16::from_be_bytes([*t0, *t1]);
        if !matches!(kind, ethernet::TYPE_VLAN | ethernet::TYPE_QINQ) {
            break;
        }
        let id = u16::from_be_bytes([*c0, *c1]) & ID;
        if id != 0 {
            if vlan != 0 || kind == ethernet::TYPE_QINQ {
                return None;
            }
            vlan = id;
        }
        rest = behind;
    }
    Some(vlan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const C: u16 = ethernet::TYPE_VLAN;
    const S: u16 = ethernet::TYPE_QINQ;

    /// The VLAN of a frame with these tags, the first of them stripped or not.
    fn of_tags(stripped: Option<u16>, tags: &[(u16, u16)]) -> Option<u16> {
        let mut frame: Vec<u8> = [0; 12].into();
        for (kind, tci) in tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(ethernet::TYPE_IPV4.to_be_bytes());
        frame.extend([0; 46]);
        let meta = RxMeta {
            vlan_tci: stripped,
            ..RxMeta::default()
        };
        of(&frame, &meta)
    }

    #[test]
    fn one_tag_names_the_vlan_and_priorities_name_none() {
        for priority in [0, 0x2000, 0xf000] {
            for (tags, vlan) in [
                (&[][..], 0),
                (&[priority], 0),
                (&[priority | 100], 100),
                (&[priority | 100, priority], 100),
                (&[priority, priority | 100], 100),
                (&[priority, priority], 0),
            ] {
                let in_frame: Vec<_> = tags.iter().map(|tci| (C, *tci)).collect();
                assert_eq!(of_tags(None, &in_frame), Some(vlan), "{tags:x?}");
                if let Some((first, _)) = tags.split_first() {
                    let stripped = of_tags(Some(*first), &in_frame[1..]);
                    assert_eq!(stripped, Some(vlan), "{tags:x?} stripped");
                }
            }
        }
    }

    #[test]
    fn a_vlan_within_another_or_of_a_provider_is_none_of_ours() {
        assert_eq!(of_tags(None, &[(C, 100), (C, 100)]), None);
        assert_eq!(of_tags(Some(100), &[(C, 7)]), None);
        assert_eq!(of_tags(None, &[(S, 100)]), None);
        assert_eq!(of_tags(None, &[(S, 100), (C, 7)]), None);
        assert_eq!(of_tags(Some(7), &[(S, 100)]), None);
        // A provider's priority tag names no VLAN either.
        assert_eq!(of_tags(None, &[(S, 0xe000), (C, 7)]), Some(7));
    }

    #[test]
    fn a_frame_cut_short_has_no_more_tags_than_it_has() {
        let frame = [&[0; 12][..], &[0x81, 0, 0, 100], &[8, 0]].concat();
        for len in 0..frame.len() {
            let expected = match len {
                0..12 => None,
                12..16 => Some(0),
                _ => Some(100),
            };
            assert_eq!(of(&frame[..len], &RxMeta::default()), expected);
        }
    }
}
