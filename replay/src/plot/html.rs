//! The picture in a page that shows the values under the pointer.

use super::svg::{BOTTOM, Frame, HEIGHT, LEFT, LINES, RIGHT, TOP, WIDTH, draw};
use super::{Plot, escape};
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light dark}body{margin:0;background:#fff;color:#1f2328;\
font:14px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}}\
main{max-width:1200px;margin:0 auto;padding:16px;position:relative}svg{width:100%;height:auto;display:block}\
#tip{position:absolute;pointer-events:none;padding:8px 10px;border-radius:6px;background:#1f2328ee;color:#fff;\
font-variant-numeric:tabular-nums;white-space:nowrap}#tip table{border-spacing:8px 0}#tip td+td{text-align:right}\
#cursor{stroke:#8888;stroke-width:1}[hidden]{display:none}p{color:#59636e;margin:0 0 0 7.5%}";

/// Finds the bucket under the pointer by bisection and shows its values; arrow keys move it too.
const SCRIPT: &str = "\
const d=JSON.parse(document.getElementById('data').textContent),svg=document.querySelector('svg'),\
tip=document.getElementById('tip'),main=document.querySelector('main'),f=d.frame;\
const cursor=document.createElementNS('http://www.w3.org/2000/svg','path');cursor.id='cursor';svg.append(cursor);\
let at=-1;\
const units=['B','KiB','MiB','GiB','TiB'];\
const size=n=>{let u=0;while(n>=1024&&u<4){n/=1024;u++}return n.toFixed(u?2:0)+' '+units[u]};\
function show(i){\
if(i<0||i>=d.events.length)return;at=i;\
const x=f.left+(f.width-f.left-f.right)*d.events[i]/f.last;\
cursor.setAttribute('d',`M${x} ${f.top}V${f.height-f.bottom}`);\
tip.replaceChildren();const table=document.createElement('table');\
const row=(a,b)=>{const r=table.insertRow();r.insertCell().textContent=a;r.insertCell().textContent=b};\
row('event',d.events[i].toLocaleString());\
for(const l of d.lines)row(l.name,l.max[i]===l.min[i]?size(l.max[i]):size(l.min[i])+' – '+size(l.max[i]));\
tip.append(table);tip.hidden=false;\
const b=svg.getBoundingClientRect(),m=main.getBoundingClientRect(),px=b.left-m.left+x*b.width/f.width;\
tip.style.left=(px<b.width/2?px+12:px-12-tip.offsetWidth)+'px';tip.style.top=(b.top-m.top+b.height*.22)+'px'}\
svg.addEventListener('pointermove',e=>{\
const b=svg.getBoundingClientRect(),x=(e.clientX-b.left)*f.width/b.width,\
event=(x-f.left)/(f.width-f.left-f.right)*f.last;\
let lo=0,hi=d.events.length-1;while(lo<hi){const m=(lo+hi+1)>>1;d.events[m]<=event?lo=m:hi=m-1}show(lo)});\
svg.addEventListener('pointerleave',()=>{tip.hidden=true;cursor.removeAttribute('d')});\
addEventListener('keydown',e=>{if(e.key==='ArrowLeft')show(at-1);if(e.key==='ArrowRight')show(at+1)});";

pub(super) fn page(plot: &Plot<'_>) -> String {
    let mut out = String::with_capacity(1 << 17);
    // Writing to a string cannot fail.
    let _ = write(plot, &mut out);
    out
}

fn write(plot: &Plot<'_>, out: &mut String) -> std::fmt::Result {
    let title = escape(plot.title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title} – strandline</title><style>{STYLE}</style></head><body><main>\n{}\
         <div id=\"tip\" hidden></div>\n<p>",
        draw(plot)
    )?;
    for (i, line) in LINES.iter().enumerate() {
        let comma = if i == 0 { "" } else { "; " };
        write!(out, "{comma}<b>{}</b>: {}", line.name, line.meaning)?;
    }
    out.push_str(".</p>\n<script type=\"application/json\" id=\"data\">");
    data(plot, out)?;
    write!(out, "</script>\n<script>{SCRIPT}</script>\n</main></body></html>\n")
}

/// Only numbers and the lines' names: nothing in it can end the script element.
fn data(plot: &Plot<'_>, out: &mut String) -> std::fmt::Result {
    let buckets = plot.timeline.buckets();
    let list = |out: &mut String, values: &mut dyn Iterator<Item = u64>| -> std::fmt::Result {
        out.push('[');
        for (i, value) in values.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(out, "{comma}{value}")?;
        }
        out.push(']');
        Ok(())
    };
    write!(
        out,
        "{{\"frame\":{{\"width\":{WIDTH},\"height\":{HEIGHT},\"left\":{LEFT},\"right\":{RIGHT},\"top\":{TOP},\
         \"bottom\":{BOTTOM},\"last\":{}}},\"events\":",
        Frame::of(plot).last
    )?;
    list(out, &mut buckets.iter().map(|bucket| bucket.event))?;
    out.push_str(",\"lines\":[");
    for (i, line) in LINES.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(out, "{comma}{{\"name\":\"{}\",\"max\":", line.name)?;
        list(out, &mut buckets.iter().map(|bucket| (line.of)(&bucket.max)))?;
        out.push_str(",\"min\":");
        list(out, &mut buckets.iter().map(|bucket| (line.of)(&bucket.min)))?;
        out.push('}');
    }
    out.push_str("]}");
    Ok(())
}
