//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-ZAS6CCAV.js";import"./chunk-ZRJGOLDQ.js";export{a as Activity,b as Invitations,c as NewProject};
