use parlor_net::{CallId, PeerId};

/// Two invitations crossed: whether `ours` is the one that becomes the call.
///
/// Both sides compare the same two pairs of an id and its caller, and so agree without another word.
pub(super) fn ours_wins(ours: (CallId, PeerId), theirs: (CallId, PeerId)) -> bool {
    ours > theirs
}
