//! Whether two files have the same owner and let the same users do the same, by what Windows says of each: a security descriptor
//! in one piece (self-relative). A pure comparison; nothing here looks at a file.

use crate::how::Reason;

/// SE_DACL_PRESENT, SE_SACL_PRESENT and SE_DACL_PROTECTED.
const HAS_ACCESS_LIST: u16 = 0x4;
const HAS_SYSTEM_LIST: u16 = 0x10;
const IS_PROTECTED: u16 = 0x1000;
/// Where in the head these stand: the control bits, and the places of all parts.
const CONTROL_AT: usize = 2;
const OWNER_AT: usize = 4;
const GROUP_AT: usize = 8;
const SYSTEM_LIST_AT: usize = 12;
const ACCESS_LIST_AT: usize = 16;
/// A list's head, and where in it the list's length and the number of entries stand.
const LIST_HEAD_BYTES: usize = 8;
const LIST_BYTES_AT: usize = 2;
const ENTRIES_AT: usize = 4;
/// Where in an entry its length stands.
const ENTRY_BYTES_AT: usize = 2;
/// A user's or a group's number (SID): its head, where in it the number of parts stands, and how long each part is.
const NUMBER_HEAD_BYTES: usize = 8;
const PARTS_AT: usize = 1;
const PART_BYTES: usize = 4;
/// In place of a number, if there is none.
const NOBODY: &[u8] = &[];

/// A security descriptor, taken apart. The order of its parts, and room that is left in a list, mean nothing.
#[derive(Debug, Eq, PartialEq)]
struct Security<'a> {
    owner: &'a [u8],
    group: &'a [u8],
    /// What the folder will hand down later does not reach the file.
    is_protected: bool,
    /// None: there is no list, and everybody may do everything. Of an empty list nobody may do anything.
    access: Option<Vec<&'a [u8]>>,
    /// The system's list has the integrity label; audit rules are told to the privileged alone, and are not asked for.
    label: Vec<&'a [u8]>,
}

/// What a file with the second descriptor would lack of one with the first; none: nothing.
///
/// What both have is not lost, whether an entry is inherited or the file's own: where a folder hands nothing down, each new
/// file has entries of its own.
pub(crate) fn difference(old: &[u8], new: &[u8]) -> Option<Reason> {
    let (Some(old), Some(new)) = (Security::of(old), Security::of(new)) else {
        return Some(Reason::Unknown);
    };
    if (old.owner, old.group) != (new.owner, new.group) {
        Some(Reason::Owner)
    } else if old == new {
        None
    } else {
        Some(Reason::AccessList)
    }
}

impl<'a> Security<'a> {
    /// None: it is no descriptor, or not a whole one.
    fn of(whole: &'a [u8]) -> Option<Self> {
        let control = short(whole, CONTROL_AT)?;
        let access = part(whole, ACCESS_LIST_AT)?.filter(|_| control & HAS_ACCESS_LIST != 0);
        let system = part(whole, SYSTEM_LIST_AT)?.filter(|_| control & HAS_SYSTEM_LIST != 0);
        Some(Self {
            owner: part(whole, OWNER_AT)?.map_or(Some(NOBODY), number)?,
            group: part(whole, GROUP_AT)?.map_or(Some(NOBODY), number)?,
            is_protected: control & IS_PROTECTED != 0,
            access: match access {
                None => None,
                Some(list) => Some(entries(list)?),
            },
            label: system.map_or(Some(Vec::new()), entries)?,
        })
    }
}

/// What begins where a field of the head says. The inner none: there is no such part. The outer one: the head is cut, or says a
/// place that is not there.
fn part(whole: &[u8], at: usize) -> Option<Option<&[u8]>> {
    let place = u32::from_le_bytes(*whole.get(at..)?.first_chunk()?);
    match usize::try_from(place).ok()? {
        0 => Some(None),
        place => whole.get(place..).map(Some),
    }
}

/// The number of a user or a group, of what begins with one.
fn number(part: &[u8]) -> Option<&[u8]> {
    let parts = usize::from(*part.get(PARTS_AT)?);
    part.get(..NUMBER_HEAD_BYTES + parts * PART_BYTES)
}

/// A list's entries, of what begins with one.
fn entries(list: &[u8]) -> Option<Vec<&[u8]>> {
    let bytes = usize::from(short(list, LIST_BYTES_AT)?);
    let mut rest = list.get(LIST_HEAD_BYTES..bytes)?;
    let mut entries = Vec::new();
    for _ in 0..short(list, ENTRIES_AT)? {
        let bytes = usize::from(short(rest, ENTRY_BYTES_AT)?);
        let (entry, behind) = rest.split_at_checked(bytes)?;
        entries.push(entry);
        rest = behind;
    }
    Some(entries)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SE_SELF_RELATIVE, and SE_DACL_AUTO_INHERITED: it says how the list came about, and nothing of what it means.
    const IN_ONE_PIECE: u16 = 0x8000;
    const AUTO_INHERITED: u16 = 0x400;
    /// INHERITED_ACE.
    const INHERITED: u8 = 0x10;

    /// The number of some user.
    fn user(id: u8) -> Vec<u8> {
        vec![1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, id, 0, 0, 0]
    }

    /// An entry that lets a user in, or denies (1), or labels (0x11).
    fn entry(kind: u8, flags: u8, id: u8) -> Vec<u8> {
        [vec![kind, flags, 24, 0, 0xff, 1, 0x1f, 0], user(id)].concat()
    }

    /// A list, with room behind its entries.
    fn list(entries: &[Vec<u8>], room: usize) -> Vec<u8> {
        let data = [entries.concat(), vec![0; room]].concat();
        let bytes = u16::try_from(data.len() + LIST_HEAD_BYTES).unwrap();
        let count = u16::try_from(entries.len()).unwrap();
        let mut list = vec![2, 0];
        list.extend(bytes.to_le_bytes());
        list.extend(count.to_le_bytes());
        list.extend([0; 2]);
        list.extend(data);
        list
    }

    /// A descriptor: control bits, and what is there, in this order, of the parts that a head has a field for.
    fn descriptor(control: u16, parts: &[(usize, Vec<u8>)]) -> Vec<u8> {
        let mut whole = vec![1, 0];
        whole.extend((control | IN_ONE_PIECE).to_le_bytes());
        whole.resize(ACCESS_LIST_AT + 4, 0);
        for (at, part) in parts {
            let place = u32::try_from(whole.len()).unwrap();
            whole[*at..at + 4].copy_from_slice(&place.to_le_bytes());
            whole.extend(part);
        }
        whole
    }

    /// One with these entries, of user 1 and group 9.
    fn with(control: u16, entries: &[Vec<u8>]) -> Vec<u8> {
        let parts = [
            (OWNER_AT, user(1)),
            (GROUP_AT, user(9)),
            (ACCESS_LIST_AT, list(entries, 0)),
        ];
        descriptor(control | HAS_ACCESS_LIST, &parts)
    }

    fn plain() -> Vec<u8> {
        with(0, &[entry(0, INHERITED, 1), entry(0, INHERITED, 7)])
    }

    #[test]
    fn what_means_the_same_is_no_difference() {
        let entries = [entry(0, INHERITED, 1), entry(0, INHERITED, 7)];
        let parts = [
            (ACCESS_LIST_AT, list(&entries, 12)),
            (SYSTEM_LIST_AT, list(&[], 0)),
            (GROUP_AT, user(9)),
            (OWNER_AT, user(1)),
        ];
        let control = HAS_ACCESS_LIST | HAS_SYSTEM_LIST | AUTO_INHERITED;
        let other = descriptor(control, &parts);
        assert_ne!(other, plain());
        assert_eq!(difference(&plain(), &plain()), None);
        assert_eq!(difference(&plain(), &other), None);
        assert_eq!(difference(&other, &plain()), None);
        // Each new file has this here.
        let own = with(0, &[entry(0, 0, 1)]);
        assert_eq!(difference(&own, &own), None);
    }

    #[test]
    fn an_access_list_of_its_own_is_a_difference() {
        let (one, two) = (entry(0, INHERITED, 1), entry(0, INHERITED, 7));
        let no_list = [(OWNER_AT, user(1)), (GROUP_AT, user(9))];
        let labelled = [
            (OWNER_AT, user(1)),
            (GROUP_AT, user(9)),
            (SYSTEM_LIST_AT, list(&[entry(0x11, 0, 3)], 0)),
            (ACCESS_LIST_AT, list(&[one.clone(), two.clone()], 0)),
        ];
        let olds = [
            with(0, &[entry(0, 0, 5), one.clone(), two.clone()]),
            with(0, &[entry(1, 0, 5), one.clone(), two.clone()]),
            with(0, &[entry(0, 0, 1), two.clone()]),
            with(0, &[two.clone(), one.clone()]),
            with(0, std::slice::from_ref(&one)),
            with(IS_PROTECTED, &[one, two]),
            with(0, &[]),
            descriptor(0, &no_list),
            descriptor(HAS_ACCESS_LIST, &no_list),
            descriptor(HAS_ACCESS_LIST | HAS_SYSTEM_LIST, &labelled),
        ];
        for old in olds {
            let found = difference(&old, &plain());
            assert_eq!(found, Some(Reason::AccessList), "{old:?}");
        }
        // Nobody may do anything, or everybody everything.
        let found = difference(&with(0, &[]), &descriptor(HAS_ACCESS_LIST, &no_list));
        assert_eq!(found, Some(Reason::AccessList));
    }

    #[test]
    fn another_owner_is_a_difference_whatever_the_list_says() {
        let entries = [entry(0, INHERITED, 1), entry(0, INHERITED, 7)];
        for (owner, group) in [(2, 9), (1, 8)] {
            let parts = [
                (OWNER_AT, user(owner)),
                (GROUP_AT, user(group)),
                (ACCESS_LIST_AT, list(&entries, 0)),
            ];
            let other = descriptor(HAS_ACCESS_LIST, &parts);
            assert_eq!(difference(&other, &plain()), Some(Reason::Owner));
            let parts = &parts[..2];
            let other = descriptor(HAS_ACCESS_LIST, parts);
            assert_eq!(difference(&other, &plain()), Some(Reason::Owner));
        }
    }

    #[test]
    fn what_is_no_whole_descriptor_is_not_known() {
        let whole = plain();
        for length in 0..whole.len() {
            let cut = &whole[..length];
            assert_eq!(difference(cut, &whole), Some(Reason::Unknown), "{length}");
            assert_eq!(difference(&whole, cut), Some(Reason::Unknown), "{length}");
            assert_eq!(difference(cut, cut), Some(Reason::Unknown), "{length}");
        }
    }
}
