// Drives a call between two Chromiums in namespaces, and writes what the benchmark's other half writes for Parlor:
// END.csv (captured|shown,MARK,US and said|heard,PIECE,US), END-said.wav, END-heard.wav, END.luma, END.json.
//
//   node browser.mjs '{"packages", "chromium", "clip", "hosts": [{"end", "namespace", "speech"}], "video", ...}'
//
// Prints `connected` when sound (and picture) came both ways; records until a line comes on stdin. A minimal page: one
// offer, one answer, all candidates in them, handed over by this script. Both sides speak, without processing, as files
// do in Parlor.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'

const wanted = JSON.parse(process.argv[2])
const { chromium } = createRequire(path.join(wanted.packages, 'package.json'))('playwright-core')

// ------------------------------------------------------------------- in the page

function inPage({ keepOneIn }) {
    // performance.now() in Unix milliseconds: Date.now() is cut to whole ones, so the greatest difference is right.
    let offset = -Infinity
    for (const end = performance.now() + 20; performance.now() < end;) offset = Math.max(offset, Date.now() - performance.now())
    const unix = t => t + offset

    // Sound is read in a worker, so that nothing in the page can hold it up.
    const worker = new Worker(URL.createObjectURL(new Blob([`const tracks = {}
        onmessage = async ({ data }) => {
            if (data.dump) {
                const { pieces, pcm } = tracks[data.dump], all = new Int16Array(pcm.reduce((n, x) => n + x.length, 0))
                pcm.reduce((at, x) => (all.set(x, at), at + x.length), 0)
                return postMessage({ pieces, all })
            }
            const track = tracks[data.name] = { pieces: [], pcm: [] }, reader = data.readable.getReader()
            for (;;) {
                const { value, done } = await reader.read()
                if (done) return
                const f = new Float32Array(value.numberOfFrames)
                value.copyTo(f, { planeIndex: 0, format: 'f32-planar' })
                track.pieces.push([value.numberOfFrames, value.sampleRate, value.timestamp, performance.timeOrigin + performance.now()])
                track.pcm.push(Int16Array.from(f, x => Math.max(-32768, Math.min(32767, Math.round(x * 32768)))))
                value.close()
            }
        }`])))
    const tap = (name, track) => {
        const { readable } = new MediaStreamTrackProcessor({ track, maxBufferSize: 500 })
        worker.postMessage({ name, readable }, [readable])
    }

    // The bar code, from two lines of the luma plane.
    const scratch = new Uint8Array(1 << 16)
    async function read(frame) {
        const { x, y, height } = frame.visibleRect, s = height / 720, even = v => 2 * Math.round(v / 2), rows = []
        const width = even(768 * s)
        for (const line of [24, 72]) {
            await frame.copyTo(scratch, { rect: { x: x + even(256 * s), y: y + even(line * s), width, height: 2 } })
            rows.push(Array.from({ length: 16 }, (_, i) => scratch[Math.floor((i + 0.5) * width / 16)]))
        }
        const bits = rows[0].map((v, i) => Math.abs(v - rows[1][i]) < 40 ? NaN : +(v > rows[1][i]))
        if (bits.some(isNaN) || !bits[0] || bits[1]) return -1
        const number = from => bits.slice(from, from === 2 ? 12 : 16).reduce((n, b) => 2 * n + b, 0), k = number(2)
        return ((k >> 8) + (k >> 4 & 15) + (k & 15) + 5 & 15) === number(12) ? k : -1
    }

    const frames = [], kept = []
    function watch(video, what) {
        let count = 0
        const each = async (_, { presentationTime }) => {
            video.requestVideoFrameCallback(each)
            let frame
            try { frame = new VideoFrame(video) } catch { return }
            try {
                const mark = await read(frame)
                if (mark >= 0) frames.push([what, mark, unix(presentationTime)])
                if (what === 'shown' && count++ % keepOneIn === 0) {
                    const { width, height } = frame.visibleRect, all = new Uint8Array(frame.allocationSize())
                    const [plane] = await frame.copyTo(all)
                    const luma = new Uint8Array(width * height)
                    for (let y = 0; y < height; y++) luma.set(all.subarray(plane.offset + y * plane.stride, plane.offset + y * plane.stride + width), y * width)
                    kept.push({ width, height, luma })
                }
            } finally { frame.close() }
        }
        video.requestVideoFrameCallback(each)
    }
    const show = (stream, muted) => {
        const element = document.createElement(stream.getVideoTracks().length ? 'video' : 'audio')
        Object.assign(element, { autoplay: true, srcObject: stream, muted })
        document.body.append(element)
        return element
    }

    window.came = []
    window.openCall = async video => {
        const size = { width: 1280, height: 720, frameRate: 30 }
        const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 }
        const stream = await navigator.mediaDevices.getUserMedia({ audio, video: video && size })
        const pc = window.pc = new RTCPeerConnection()
        stream.getTracks().forEach(track => pc.addTrack(track, stream))
        tap('said', stream.getAudioTracks()[0])
        if (video) watch(show(new MediaStream(stream.getVideoTracks()), true), 'captured')
        pc.ontrack = ({ track }) => {
            const element = show(new MediaStream([track]), false)
            track.onunmute = () => window.came.push(track.kind)
            if (track.kind === 'video') watch(element, 'shown')
            else tap('heard', track)
        }
    }
    window.gathered = async () => {
        if (pc.iceGatheringState !== 'complete') await new Promise(ok => pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && ok())
        return pc.localDescription.toJSON()
    }
    const base64 = data => new Promise(ok => {
        const reader = new FileReader()
        reader.onload = () => ok(reader.result.split(',')[1])
        reader.readAsDataURL(new Blob([data]))
    })
    window.sound = name => new Promise(ok => {
        worker.onmessage = async ({ data }) => ok({ pieces: data.pieces, pcm: await base64(data.all) })
        worker.postMessage({ dump: name })
    })
    window.framesSeen = () => frames
    window.keptCount = () => kept.length
    window.keptFrame = async i => ({ ...kept[i], luma: await base64(kept[i].luma) })
    window.stats = async () => [...(await pc.getStats()).values()].filter(s => /rtp|candidate-pair/.test(s.type))
}

// ---------------------------------------------------------------------- outside

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'parlor-browser-'))

async function openPage({ end, namespace, speech }) {
    const wrapper = path.join(temporary, end)
    fs.writeFileSync(wrapper, `#!/bin/sh\nexec nsenter --net=${namespace} -- ${wanted.chromium} "$@"\n`, { mode: 0o755 })
    const browser = await chromium.launch({
        executablePath: wrapper, headless: true,
        args: ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
            `--use-file-for-fake-audio-capture=${path.resolve(speech)}`, `--use-file-for-fake-video-capture=${path.resolve(wanted.clip)}`,
            '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic', '--no-first-run',
            '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
            '--disable-backgrounding-occluded-windows', '--disable-features=WebRtcHideLocalIpsWithMdns'],
    })
    const page = await (await browser.newContext()).newPage()
    page.on('pageerror', error => console.error(end, error.message))
    await page.route('http://localhost/*', r => r.fulfill({ contentType: 'text/html', body: '<!doctype html><title>call</title><body></body>' }))
    await page.addInitScript(inPage, { keepOneIn: wanted.keepOneIn })
    await page.goto('http://localhost/')
    return { end, browser, page }
}

function writeWav(file, rate, pcm) {
    const head = Buffer.alloc(44)
    head.write('RIFF'); head.writeUInt32LE(36 + pcm.length, 4); head.write('WAVEfmt ', 8); head.writeUInt32LE(16, 16)
    head.writeUInt16LE(1, 20); head.writeUInt16LE(1, 22); head.writeUInt32LE(rate, 24); head.writeUInt32LE(rate * 2, 28)
    head.writeUInt16LE(2, 32); head.writeUInt16LE(16, 34); head.write('data', 36); head.writeUInt32LE(pcm.length, 40)
    fs.writeFileSync(file, Buffer.concat([head, pcm]))
}

// Pieces bear Chromium's own stamps, which count from some moment of its own, and the time at which this page saw them:
// the quickest reading ties the two.
function pieceTimes(pieces) {
    const ties = pieces.slice(10).map(([, , stamp, seen]) => seen - stamp / 1000).sort((a, b) => a - b)
    const tie = ties[Math.floor(ties.length / 100)]
    return pieces.map(([, , stamp]) => tie + stamp / 1000)
}

async function save({ end, page }) {
    const file = what => path.join(wanted.folder, end + what)
    const lines = (await page.evaluate(() => framesSeen())).map(([what, mark, ms]) => `${what},${mark},${Math.round(ms * 1000)}`)
    for (const name of ['said', 'heard']) {
        const { pieces, pcm } = await page.evaluate(n => sound(n), name)
        const odd = pieces.find(([frames, rate]) => frames * 100 !== rate)
        if (odd) throw new Error(`${end} ${name}: a piece of ${odd[0]} samples at ${odd[1]} Hz`)
        writeWav(file(`-${name}.wav`), pieces[0][1], Buffer.from(pcm, 'base64'))
        lines.push(...pieceTimes(pieces).map((ms, i) => `${name},${i},${Math.round(ms * 1000)}`))
    }
    fs.writeFileSync(file('.csv'), lines.join('\n') + '\n')
    const luma = fs.openSync(file('.luma'), 'w')
    for (let i = 0, n = await page.evaluate(() => keptCount()); i < n; i++) {
        const frame = await page.evaluate(k => keptFrame(k), i), size = Buffer.alloc(8)
        size.writeUInt32LE(frame.width, 0); size.writeUInt32LE(frame.height, 4)
        fs.writeSync(luma, size)
        fs.writeSync(luma, Buffer.from(frame.luma, 'base64'))
    }
    fs.closeSync(luma)
    fs.writeFileSync(file('.json'), JSON.stringify(await page.evaluate(() => stats())))
}

const pages = []
let failed = false
try {
    for (const host of wanted.hosts) pages.push(await openPage(host))
    const [a, b] = pages.map(({ page }) => page)
    for (const page of [a, b]) await page.evaluate(video => openCall(video), wanted.video)
    const offer = await a.evaluate(async () => { await pc.setLocalDescription(); return gathered() })
    const answer = await b.evaluate(async o => { await pc.setRemoteDescription(o); await pc.setLocalDescription(); return gathered() }, offer)
    await a.evaluate(x => pc.setRemoteDescription(x), answer)
    for (const page of [a, b]) await page.waitForFunction(n => came.length === n, wanted.video ? 2 : 1, { timeout: 10000 })
    // A stalled page would count as a late network: the browsers go ahead of everything, where that is allowed.
    for (const { namespace } of wanted.hosts)
        for (const pid of execFileSync('ip', ['netns', 'pids', path.basename(namespace)], { encoding: 'utf8' }).split('\n').filter(Boolean))
            try { execFileSync('chrt', ['-a', '-r', '-p', '1', pid], { stdio: 'ignore' }) } catch { /* not allowed, or gone */ }
    console.log('connected')
    await new Promise(ok => createInterface({ input: process.stdin }).once('line', ok))
    for (const page of pages) await save(page)
} catch (error) {
    console.error(error.message)
    failed = true
} finally {
    await Promise.all(pages.map(({ browser }) => browser.close().catch(() => {})))
    fs.rmSync(temporary, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)
