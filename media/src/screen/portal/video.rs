//! Pictures that come through PipeWire: in memory that it shares, never as handles of a graphics card.

use std::{
    cell::OnceCell,
    io::{self, Cursor},
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
    sync::Arc,
};

use pipewire::{
    context::ContextRc,
    core::{CoreRc, Listener, PW_ID_CORE},
    keys,
    loop_::{LoopRc, Timeout},
    properties::properties,
    spa::{
        buffer::{ChunkFlags, Data, DataType, meta::MetaVideoCrop},
        param::{
            ParamType,
            format::{FormatProperties, MediaSubtype, MediaType},
            format_utils::parse_format,
            video::{VideoFormat, VideoInfoRaw},
        },
        pod::{Object, Pod, Property, Value, object, property, serialize::PodSerializer},
        sys as spa_sys,
        utils::{Choice, ChoiceEnum, ChoiceFlags, Direction, Fraction, Id, Rectangle, SpaTypes},
    },
    stream::{Stream, StreamFlags, StreamListener, StreamRc, StreamState},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::screen::{
    Failure,
    newest::{Newest, Order, Pixels},
};

/// What is larger in one direction is not asked for.
const MAX_SIDE: u32 = 8_192;
/// Pictures a second that are asked for, as many as a shared screen is looked at.
const MAX_RATE: u32 = 15;

/// What one of the desktop's screens or windows shows. The fields go in this order.
pub(super) struct Video {
    _stream_listener: StreamListener<Reader>,
    _core_listener: Listener,
    _stream: StreamRc,
    _core: CoreRc,
    _context: ContextRc,
    work: LoopRc,
    failed: Rc<Failed>,
}

/// Why there are no more pictures: what was found out first, since the rest follows from it.
#[derive(Default)]
struct Failed(OnceCell<Failure>);

impl Failed {
    fn because(&self, failure: Failure) {
        self.0.get_or_init(|| failure);
    }
}

/// Tells when PipeWire has something to do.
fn ready(of: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = of.try_clone_to_owned()?;
    // SAFETY: The descriptor is its own, and closed with it.
    #[allow(unsafe_code, reason = "the registration can't know that")]
    let ready = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(ready?)
}

/// What the stream's pictures are, and where they go.
struct Reader {
    newest: Arc<Newest>,
    failed: Rc<Failed>,
    format: Option<(Order, u32, u32)>,
}

impl Video {
    pub(super) fn connect(node: u32, remote: OwnedFd, newest: &Arc<Newest>) -> Result<Self, pipewire::Error> {
        let work = LoopRc::new(None)?;
        let context = ContextRc::new(&work, None)?;
        let core = context.connect_fd_rc(remote, None)?;
        let failed = Rc::new(Failed::default());
        let lost = Rc::clone(&failed);
        let core_listener = core
            .add_listener_local()
            .error(move |id, _, _, message| {
                if id == PW_ID_CORE {
                    lost.because(Failure::Broken(message.to_owned()));
                }
            })
            .register();
        let about = properties! {
            *keys::MEDIA_TYPE => "Video",
            *keys::MEDIA_CATEGORY => "Capture",
            *keys::MEDIA_ROLE => "Screen",
        };
        let stream = StreamRc::new(core.clone(), "Parlor", about)?;
        let reader = Reader { newest: Arc::clone(newest), failed: Rc::clone(&failed), format: None };
        let stream_listener = stream
            .add_local_listener_with_user_data(reader)
            .state_changed(|_, reader, before, now| reader.on_state(&before, now))
            .param_changed(|stream, reader, id, param| reader.on_param(stream, id, param))
            .process(|stream, reader| reader.on_pictures(stream))
            .register()?;
        let formats = pod(formats());
        let formats = formats.as_deref().and_then(Pod::from_bytes).ok_or(pipewire::Error::CreationFailed)?;
        // Without the last flag, another screen might take the place of one that is gone.
        let flags = StreamFlags::AUTOCONNECT | StreamFlags::MAP_BUFFERS | StreamFlags::DONT_RECONNECT;
        stream.connect(Direction::Input, Some(node), flags, &mut [formats])?;
        Ok(Self {
            _stream_listener: stream_listener,
            _core_listener: core_listener,
            _stream: stream,
            _core: core,
            _context: context,
            work,
            failed,
        })
    }

    /// Puts pictures where they go, until there are no more.
    pub(super) async fn run(self) -> Failure {
        let ready = match ready(self.work.fd()) {
            Ok(ready) => ready,
            Err(error) => return Failure::Broken(error.to_string()),
        };
        loop {
            while self.work.iterate(Timeout::None) > 0 {}
            if let Some(failure) = self.failed.0.get() {
                return failure.clone();
            }
            match ready.readable().await {
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => return Failure::Broken(error.to_string()),
            }
        }
    }
}

/// Called from C: nothing here may panic.
impl Reader {
    fn on_state(&self, before: &StreamState, now: StreamState) {
        tracing::debug!(?before, ?now, "the desktop's screen");
        match now {
            StreamState::Error(error) => self.failed.because(match before {
                // What it came from has left.
                StreamState::Streaming | StreamState::Paused => Failure::Gone,
                StreamState::Error(_) | StreamState::Unconnected | StreamState::Connecting => Failure::Broken(error),
            }),
            StreamState::Unconnected => self.failed.because(Failure::Gone),
            StreamState::Connecting | StreamState::Paused | StreamState::Streaming => {}
        }
    }

    /// What the pictures will be from now on; also when a window has got another size.
    fn on_param(&mut self, stream: &Stream, id: u32, param: Option<&Pod>) {
        let Some(param) = param.filter(|_| id == ParamType::Format.as_raw()) else { return };
        self.format = video_format(param);
        let Some((order, width, height)) = self.format else {
            self.failed.because(Failure::Broken("pictures of an unknown kind".to_owned()));
            return;
        };
        tracing::debug!(?order, width, height, "pictures of the desktop's screen");
        let params = [pod(buffers()), pod(window_part())];
        let mut params = params.iter().flatten().filter_map(|bytes| Pod::from_bytes(bytes)).collect::<Vec<_>>();
        if let Err(error) = stream.update_params(&mut params) {
            self.failed.because(Failure::Broken(error.to_string()));
        }
    }

    /// Takes the last of those that wait; all go back at once.
    fn on_pictures(&self, stream: &Stream) {
        let mut newest = None;
        while let Some(buffer) = stream.dequeue_buffer() {
            newest = Some(buffer);
        }
        let (Some(mut buffer), Some((order, width, height))) = (newest, self.format) else { return };
        let part = buffer.find_meta::<MetaVideoCrop>().map(|part| {
            let (at, size) = (part.meta_region().position(), part.meta_region().size());
            ((at.x, at.y), (size.width, size.height))
        });
        if let Some((stride, bytes)) = buffer.datas_mut().first_mut().and_then(|data| content(data, width)) {
            let pixels = Pixels { width, height, stride, order, bytes };
            self.newest.put(&part.map_or(pixels, |(at, size)| pixels.part(at, size)));
        }
    }
}

/// The bytes, if there are any: some desktops send empty pictures when only the pointer has moved.
fn content(data: &mut Data, width: u32) -> Option<(usize, &[u8])> {
    let readable = [DataType::MemPtr, DataType::MemFd].contains(&data.type_());
    if !readable || data.as_raw().chunk.is_null() {
        return None;
    }
    let chunk = data.chunk();
    if chunk.size() == 0 || chunk.flags().contains(ChunkFlags::CORRUPTED) {
        return None;
    }
    let (offset, stride) = (chunk.offset() as usize, usize::try_from(chunk.stride()).ok()?);
    let stride = if stride == 0 { width as usize * 4 } else { stride };
    Some((stride, data.data()?.get(offset..)?))
}

fn video_format(param: &Pod) -> Option<(Order, u32, u32)> {
    if !matches!(parse_format(param), Ok((MediaType::Video, MediaSubtype::Raw))) {
        return None;
    }
    let mut info = VideoInfoRaw::new();
    info.parse(param).ok()?;
    let order = match info.format() {
        VideoFormat::BGRx | VideoFormat::BGRA => Order::Bgrx,
        VideoFormat::RGBx | VideoFormat::RGBA => Order::Rgbx,
        _ => return None,
    };
    Some((order, info.size().width, info.size().height))
}

/// The pictures that are understood.
fn formats() -> Object {
    object!(
        SpaTypes::ObjectParamFormat,
        ParamType::EnumFormat,
        property!(FormatProperties::MediaType, Id, MediaType::Video),
        property!(FormatProperties::MediaSubtype, Id, MediaSubtype::Raw),
        property!(
            FormatProperties::VideoFormat,
            Choice,
            Enum,
            Id,
            VideoFormat::BGRx,
            VideoFormat::BGRx,
            VideoFormat::BGRA,
            VideoFormat::RGBx,
            VideoFormat::RGBA,
        ),
        property!(
            FormatProperties::VideoSize,
            Choice,
            Range,
            Rectangle,
            Rectangle { width: 1_920, height: 1_080 },
            Rectangle { width: 1, height: 1 },
            Rectangle { width: MAX_SIDE, height: MAX_SIDE }
        ),
        // 0: whenever something changes.
        property!(
            FormatProperties::VideoFramerate,
            Choice,
            Range,
            Fraction,
            Fraction { num: 0, denom: 1 },
            Fraction { num: 0, denom: 1 },
            Fraction { num: 1_000, denom: 1 }
        ),
        property!(
            FormatProperties::VideoMaxFramerate,
            Choice,
            Range,
            Fraction,
            Fraction { num: MAX_RATE, denom: 1 },
            Fraction { num: 1, denom: 1 },
            Fraction { num: MAX_RATE, denom: 1 }
        ),
    )
}

/// Where they may lie: in memory.
fn buffers() -> Object {
    let kinds = [DataType::MemPtr, DataType::MemFd].iter().fold(0, |kinds, kind| kinds | 1 << kind.as_raw());
    let kinds = Choice(ChoiceFlags::empty(), ChoiceEnum::Flags { default: kinds, flags: vec![] });
    let kinds =
        Property::new(spa_sys::SPA_PARAM_BUFFERS_dataType, Value::Choice(pipewire::spa::pod::ChoiceValue::Int(kinds)));
    Object { type_: SpaTypes::ObjectParamBuffers.as_raw(), id: ParamType::Buffers.as_raw(), properties: vec![kinds] }
}

/// Which part of a picture the window is, where the desktop tells.
fn window_part() -> Object {
    let size = i32::try_from(size_of::<spa_sys::spa_meta_region>()).unwrap_or(0);
    let properties = vec![
        Property::new(spa_sys::SPA_PARAM_META_type, Value::Id(Id(spa_sys::SPA_META_VideoCrop))),
        Property::new(spa_sys::SPA_PARAM_META_size, Value::Int(size)),
    ];
    Object { type_: SpaTypes::ObjectParamMeta.as_raw(), id: ParamType::Meta.as_raw(), properties }
}

fn pod(object: Object) -> Option<Vec<u8>> {
    let written = PodSerializer::serialize(Cursor::new(Vec::new()), &Value::Object(object));
    written.ok().map(|(cursor, _)| cursor.into_inner())
}
