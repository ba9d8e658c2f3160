#include "recipes/report/page_style.h"

namespace attar {

const char* const kPageStyle = R"(
:root{color-scheme:light dark;--ink:#1b2230;--soft:#566072;--line:#d8dde6;--paper:#fff;--wash:#f4f6f9;--accent:#a8481f;--second:#2f6f9f;--third:#6a7f2a;--good:#1f6b3f;--bad:#a8201a;--badwash:#fcefee;--heat:.66}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaf0;--soft:#a3adbd;--line:#343d4b;--paper:#14181f;--wash:#1d232c;--accent:#eb9466;--second:#79b4e0;--third:#b3c56a;--good:#6fcf97;--bad:#ff9389;--badwash:#33201f;--heat:.48}}
*{box-sizing:border-box}
body{font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:0 auto;padding:2.5rem 1.5rem 4rem;overflow-wrap:break-word}
h1{font-size:1.1rem;font-weight:600;color:var(--soft);margin:0}
.verdict{font-size:2.1rem;line-height:1.2;font-weight:650;letter-spacing:-.015em;margin:.15rem 0 .8rem;text-wrap:balance}
h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .8rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.8rem 0 .4rem}
p{margin:.5rem 0;max-width:48rem}
.soft,figcaption span,caption span,small{color:var(--soft);font-weight:400}
a{color:inherit}a.term{text-decoration:underline dotted var(--soft);text-underline-offset:.2em}
.alert{background:var(--badwash);border-left:4px solid var(--bad);padding:.6rem .9rem;border-radius:0 6px 6px 0;margin:.6rem 0}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.8rem;margin:1.6rem 0 .5rem}
.tile{background:var(--wash);border-radius:8px;padding:.8rem 1rem}
.tile b{display:block;font-size:1.55rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:.875rem;color:var(--soft)}
table{border-collapse:collapse;width:100%;margin:1.2rem 0;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding-bottom:.4rem}caption span{display:block;font-size:.9rem}
th,td{padding:.38rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-size:.875rem;color:var(--soft);font-weight:600;vertical-align:bottom}
.numbers td:not(:first-child),.numbers th:not(:first-child){text-align:right}
.words td:last-child:not(:first-child),.words th:last-child:not(:first-child){text-align:left}
td.sub,tr.sub td:first-child{padding-left:1.6rem;color:var(--soft)}
tr.own td{background:var(--wash);font-weight:600}
.pass{color:var(--good);font-weight:600}.miss{color:var(--bad);font-weight:600}
code,pre{font:.8125rem/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{overflow-wrap:anywhere}
pre{background:var(--wash);border-radius:6px;padding:.7rem .9rem;margin:.3rem 0;white-space:pre-wrap;overflow-wrap:anywhere;max-height:15rem;overflow-y:auto}
pre i{font-style:normal;color:var(--accent);opacity:.75}
pre.code{max-height:30rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:1rem;align-items:start}
.pair small{font-size:.875rem}
.sample{margin:1.2rem 0 1.6rem}.sample>p{font-weight:600}
details{margin:.6rem 0}summary{cursor:pointer}ul.notes{padding-left:1.2rem;margin:.3rem 0}
figure{margin:1.6rem 0}figcaption{font-weight:600}figcaption span{display:block;font-size:.9rem}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;margin:.4rem 0;padding:0;font-size:.875rem}
.legend li{overflow-wrap:anywhere}.legend svg{width:2rem;height:.7rem;margin-right:.4rem;vertical-align:middle}
.ytitle,.xtitle{font-size:.875rem;color:var(--soft)}.ytitle{margin:.5rem 0 .6rem}.xtitle{text-align:right;margin-right:1.5rem}
.area{position:relative;height:15rem;margin:0 1.5rem 1.7rem 3.6rem}
.area>svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.tick{position:absolute;font-size:.8125rem;line-height:1;color:var(--soft);white-space:nowrap;font-variant-numeric:tabular-nums}
.y{right:100%;transform:translateY(-50%);margin-right:.5rem}.x{top:100%;transform:translateX(-50%);margin-top:.5rem}
.dot{position:absolute;width:var(--size);height:var(--size);transform:translate(-50%,-50%);border-radius:50%;display:grid;place-items:center;font-size:.8125rem;font-weight:600;color:var(--paper);background:var(--accent);border:2px solid var(--paper)}
.number{position:absolute;transform:translate(-50%,-50%);font-size:.8125rem;line-height:1;font-weight:600}.number.over{margin-top:calc(-.5*var(--size) - .5rem)}.number.under{margin-top:calc(.5*var(--size) + .5rem)}.number.beside{margin-left:calc(.5*var(--size) + .5rem + var(--place)*1.1rem)}
.heat{display:grid;gap:2px;font-size:.8125rem;align-items:center;margin:.6rem 0}
.heat>b{font-weight:400;padding-right:.6rem;overflow-wrap:anywhere;line-height:1.15}
.heat>i{font-style:normal;text-align:center;min-height:1.6rem;line-height:1.6rem;border-radius:2px;overflow:hidden;font-size:.75rem;background:color-mix(in srgb,var(--accent) calc(var(--v)*var(--heat)),var(--wash))}
.heat>u{text-decoration:none;display:flex;justify-content:center;white-space:nowrap;color:var(--soft);font-size:.75rem}
.scale{display:flex;align-items:center;gap:.5rem;font-size:.8125rem;color:var(--soft)}
.scale i{width:7rem;height:.7rem;border-radius:2px;background:linear-gradient(to right,color-mix(in srgb,var(--accent) calc(8%*var(--heat)),var(--wash)),color-mix(in srgb,var(--accent) calc(100%*var(--heat)),var(--wash)))}
.facts td,.words td:last-child{overflow-wrap:anywhere}.facts td:first-child{width:12rem}.cards td:first-child{overflow-wrap:anywhere;min-width:9rem}
dt{font-weight:600;margin-top:.8rem}dd{margin:.1rem 0 0;max-width:48rem}dt:target,dt:target+dd{background:var(--wash)}
footer{margin-top:3rem;color:var(--soft);font-size:.875rem}
@media(max-width:40rem){
body{padding:1.4rem 1rem 3rem}.verdict{font-size:1.6rem}.tiles{grid-template-columns:1fr 1fr}.tile{padding:.6rem .8rem}.tile b{font-size:1.3rem}
.pair{grid-template-columns:1fr;gap:.6rem}th,td{padding:.38rem .3rem}table{font-size:.9375rem}th:first-child,td:first-child{padding-left:0}.words td:last-child:not(:first-child),.words th:last-child:not(:first-child){text-align:left}
td.sub,tr.sub td:first-child{padding-left:.7rem}
tr.own td:first-child{padding-left:.3rem}
.facts td:first-child{width:7rem}.area{height:13rem;margin-left:3.2rem}
.cards,.cards tbody{display:block}.cards caption{display:block}.cards td{overflow-wrap:anywhere}.cards thead{display:none}.cards tr{display:block;border-bottom:1px solid var(--line);padding:.5rem 0}.cards td,.cards.numbers td:not(:first-child){display:flex;justify-content:space-between;gap:1rem;text-align:right;border:0;padding:.12rem .3rem}
.cards td::before{content:attr(data-label);color:var(--soft);font-weight:400;text-align:left;flex:none;max-width:55%}.cards td:first-child{display:block;font-weight:600;text-align:left;padding-left:.3rem}.cards td:first-child::before{content:none}.cards td:empty,.cards.numbers td:empty{display:none}
}
@media print{body{max-width:none}pre{max-height:none}h2{break-after:avoid}figure,.sample{break-inside:avoid}}
)";

}  // namespace attar
