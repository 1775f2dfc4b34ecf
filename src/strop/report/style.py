"""The page's style sheet, kept as text so that it always travels inside report.html."""

CSS = """
:root{color-scheme:light dark;
 --paper:#fcfbf8;--ink:#1d1c1a;--soft:#5f5b54;--faint:#8a857c;--rule:#dedad1;--panel:#f4f2ec;
 --accent:#0f5c7a;--accent-soft:#cfe2ea;--good:#20663f;--bad:#a1332b;--plain:#8f8a80;--plain-soft:#e4e0d6;
 --serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua","URW Palladio L",Georgia,serif;
 --sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif;
 --mono:ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{
 --paper:#161719;--ink:#e9e6df;--soft:#aaa59b;--faint:#868279;--rule:#34353a;--panel:#1e2023;
 --accent:#7cc4e0;--accent-soft:#234453;--good:#7cc796;--bad:#ee938a;--plain:#8f8b83;--plain-soft:#3a3b3e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 var(--sans);font-variant-numeric:tabular-nums}
main{max-width:62rem;margin:0 auto;padding:3.2rem 1.5rem 4rem}
header{border-bottom:1px solid var(--rule);padding-bottom:1.8rem}
.kicker{margin:0;color:var(--soft);font-size:.85rem;letter-spacing:.02em}
h1{font:600 1.15rem/1.3 var(--sans);margin:1.6rem 0 .4rem;overflow-wrap:anywhere}
.headline{font:400 1.9rem/1.32 var(--serif);margin:0 0 .9rem;max-width:46rem;text-wrap:pretty;overflow-wrap:anywhere}
.about{margin:0;color:var(--soft);max-width:46rem;overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));gap:0 2rem;margin:0;padding:1.6rem 0 0}
.figures div{border-top:2px solid var(--ink);padding:.6rem 0 1rem}
.figures dt{font-size:.82rem;color:var(--soft)}
.figures dd{margin:0}
.figures .value{font:400 1.65rem/1.3 var(--serif)}
.figures .value.missing{color:var(--faint);font-size:1.2rem;line-height:1.82}
.figures .more{font-size:.85rem;color:var(--soft)}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:.18em}
nav{font-size:.87rem;padding:1rem 0 0;color:var(--soft)}
nav a{margin-right:1.1rem;white-space:nowrap;text-decoration:none}
nav a:hover{text-decoration:underline}
section{padding-top:2.6rem}
h2{font:600 1.3rem/1.3 var(--serif);margin:0 0 .7rem}
h3{font:600 .95rem/1.4 var(--sans);margin:1.8rem 0 .3rem}
p{margin:.5rem 0;max-width:46rem}
.note,figcaption{color:var(--soft);font-size:.87rem;max-width:46rem;margin:.5rem 0 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:0 3rem}
.pair ul{list-style:none;margin:.3rem 0 0;padding:0}
.pair li{padding:.42rem 0;border-top:1px solid var(--rule);overflow-wrap:anywhere}
.pair li span{display:block;color:var(--soft);font-size:.87rem}
.scroll{overflow-x:auto;margin:.6rem 0 0}
table{border-collapse:collapse;width:100%;font-size:.87rem;line-height:1.42}
caption{text-align:left;font-weight:600;padding:.4rem 0}
th,td{text-align:left;vertical-align:top;padding:.44rem .9rem .44rem 0;border-bottom:1px solid var(--rule);font-weight:400}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--soft);font-size:.8rem;vertical-align:bottom;border-bottom-color:var(--faint);white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
.r{text-align:right}
td.r+td:not(.r),th.r+th:not(.r),td.r+th:not(.r){padding-left:1.4rem}
.slim{max-width:36rem}
.half{max-width:48rem}
.keys th{width:15rem;color:var(--soft)}
.n{white-space:nowrap}
.w{min-width:11rem;overflow-wrap:anywhere}
.sub{display:block;color:var(--soft);font-size:.92em}
.good{color:var(--good);font-weight:600}
.bad{color:var(--bad);font-weight:600}
.good .sub,.bad .sub{font-weight:400}
.muted{color:var(--soft)}
.screen,.screen .sub{color:var(--faint);font-style:italic}
.ci{color:var(--soft)}
.screen .ci{color:inherit}
.id{font-family:var(--mono);font-size:.92em}
figure{margin:1.2rem 0 0}
pre{background:var(--panel);border-left:2px solid var(--accent);padding:.8rem 1rem;overflow-x:auto;
 font:.85rem/1.5 var(--mono);margin:.5rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
.bars{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr max-content;gap:.24rem .8rem;font-size:.87rem;
 align-items:center;margin:.4rem 0 0;max-width:40rem}
.bars i{display:block;height:.62rem;background:var(--accent);opacity:.75;border-radius:1px;min-width:1px}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--soft);font-size:.85rem}
.plot{display:block;width:100%;height:auto;min-width:40rem;font-family:var(--sans)}
.plot .t{font-size:12px;fill:var(--ink);font-variant-numeric:tabular-nums}
.plot .dim{fill:var(--soft)}
.plot .strong{font-weight:600}
.plot .halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.plot .grid{stroke:var(--rule);stroke-width:1}
.plot .one{stroke:var(--ink);stroke-width:1}
.plot .limit{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4}
.plot .hatch{stroke:var(--bad);stroke-width:1;opacity:.28}
.plot .front{fill:none;stroke:var(--plain);stroke-width:1.2;stroke-dasharray:2 3}
.plot .roof{fill:none;stroke:var(--plain);stroke-width:1.6}
.plot .screened{fill:var(--paper);stroke:var(--plain);stroke-width:1.4}
.plot .original{fill:var(--ink);stroke:var(--paper);stroke-width:1.5}
.plot .result{fill:var(--accent);stroke:var(--paper);stroke-width:1.5}
.plot .dot{fill:var(--plain);opacity:.5}
.plot .box{fill:none;stroke:var(--ink);stroke-width:1.2}
.plot .mid{stroke:var(--ink);stroke-width:2}
.plot .claim{stroke:var(--accent);stroke-width:3.5}
.plot .thin{stroke-width:1.5}
.plot .step{fill:var(--accent-soft);stroke:var(--accent);stroke-width:1}
.plot .seen{fill:var(--paper);stroke:var(--plain);stroke-width:1}
.plot .rest{fill:var(--plain-soft);stroke:var(--plain);stroke-width:1;stroke-dasharray:3 2}
.plot .total{fill:var(--accent)}
.plot .whisker{stroke:var(--ink);stroke-width:1.2}
.plot .curve{fill:none;stroke:var(--accent);stroke-width:1.8}
.plot .k1{stroke:var(--ink)}
.plot .k2{stroke:var(--good)}
.plot .k3{stroke:var(--plain)}
.plot .dashed{stroke-dasharray:6 3}
.plot .lost{fill:var(--bad)}
.plot .join{stroke:var(--faint);stroke-width:1}
@media (max-width:40rem){main{padding:1.6rem 1rem 3rem}.headline{font-size:1.45rem}}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--faint:#666;--rule:#ccc;--panel:#f5f5f5;
 --accent:#0f5c7a;--accent-soft:#cfe2ea;--good:#20663f;--bad:#a1332b;--plain:#8f8a80;--plain-soft:#e4e0d6}
 body{font-size:10pt}main{max-width:none;padding:0}nav{display:none}section{padding-top:1.4rem}
 figure,tr,pre,.pair li,.figures div{break-inside:avoid}h2,h3{break-after:avoid}.scroll{overflow:visible}
 thead{display:table-header-group}.plot{min-width:0}.figures{grid-template-columns:repeat(4,1fr);gap:0 1rem}}
"""
"""Light and dark by the reader's preference, always light on paper."""
