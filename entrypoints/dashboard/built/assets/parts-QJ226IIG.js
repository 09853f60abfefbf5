//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-2WLFRUME.js";import"./chunk-VJMD7M7P.js";export{a as Activity,b as Invitations,c as NewProject};
