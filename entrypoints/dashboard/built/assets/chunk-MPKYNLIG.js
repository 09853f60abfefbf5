//# allFunctionsCalledOnLoad
import{f as a,g as d,j as r}from"./chunk-YBVAQLBO.js";import{v as c}from"./chunk-E6MZPFQR.js";async function x(f,l,m,u){let t=await c(f,l,u),o=JSON.parse(t),s=r(t,a(t),"items"),p=s?d(t,s).children:[];return o.items.forEach((i,g)=>{for(let e of m){let n=i[e]===null?void 0:r(t,p[g],e);n&&(i[e]=t.slice(n.start,n.end))}}),o}export{x as a};
